"""Packet and netlink sockets come back with what they were told."""

from __future__ import annotations

import mmap
import os
import socket
import struct

from lib import workload

SOL_PACKET, RX_RING, VERSION, STATISTICS, AUXDATA = 263, 5, 10, 6, 8
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1
ETH_P_ALL, NETLINK_ROUTE, NETLINK_UEVENT = 3, 0, 15

with workload() as check:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.bind(("lo", ETH_P_ALL))
    packets.setsockopt(SOL_PACKET, AUXDATA, 1)
    packets.setsockopt(SOL_PACKET, RX_RING, struct.pack("4I", 4096, 2, 2048, 4))
    ring = mmap.mmap(packets.fileno(), 8192, mmap.MAP_SHARED)
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
    route.bind((0, 1))
    name = route.getsockname()
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_UEVENT)
    events.bind((0, 0))
    events.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, 3)
    groups = events.getsockname()

    check.wait()

    check.equal(packets.getsockname()[:2], ("lo", ETH_P_ALL), "binding of the packet socket")
    check.equal(packets.getsockopt(SOL_PACKET, AUXDATA), 1, "PACKET_AUXDATA")
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b"x", ("127.0.0.1", 9))
    packets.settimeout(5)
    check.that(any(ring[offset + 8] & 1 for offset in range(0, 8192, 2048)), "no packet in the mapped ring")
    check.equal(route.getsockname(), name, "netlink port and groups")
    check.equal(events.getsockname(), groups, "netlink membership")
    route.send(struct.pack("=IHHIIB3x", 20, 18, 0x301, 7, 0, os.EX_OK))
    check.equal(struct.unpack_from("=I", route.recv(65536), 8)[0], 7, "answer to a request")
