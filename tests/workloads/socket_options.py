"""Options of sockets that few programs set, and memberships in multicast groups."""

from __future__ import annotations

import errno
import os
import socket
import struct

from lib import workload

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
SOL, IP, IPV6, TCP, UDP, NETLINK = socket.SOL_SOCKET, 0, 41, 6, 17, 270
TIMESTAMPING = struct.pack("ii", 0x18, 0)  # SOF_TIMESTAMPING_RX_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE
GROUPS = {4: "239.7.7.7", 6: "ff02::7:7"}
# (level, name, value) by the socket that gets it
WANTED: dict[str, list[tuple[int, int, int | bytes]]] = {
    "stream": [(TCP, 18, 12345), (TCP, 25, 4096), (TCP, 7, 3), (TCP, 8, 30), (SOL, 29, 1), (IP, 24, 1), (IP, 10, 0)],
    "listener": [(TCP, 9, 7), (TCP, 23, 5), (TCP, 27, 1)],
    "client": [(TCP, 18, 4321), (TCP, socket.TCP_CONGESTION, b"reno"), (SOL, 47, struct.pack("Q", 1 << 33))],
    "dgram": [(SOL, 35, 1), (SOL, 37, TIMESTAMPING), (IP, 33, 5), (IP, 34, 0), (IP, 11, 1), (IP, 13, 1), (UDP, 104, 1)],
    "dgram6": [(IPV6, 16, 9), (IPV6, 18, 4), (IPV6, 49, 1), (IPV6, 66, 1), (IPV6, 67, 0x20), (IP, 1, 0x10)],
    "unix": [(SOL, 42, 3), (SOL, 16, 1)],
    "netlink": [(NETLINK, 3, 1), (NETLINK, 11, 1), (NETLINK, 12, 1)],
}


def value(sock: socket.socket, level: int, name: int, like: int | bytes) -> int | bytes:
    if isinstance(like, int):
        return sock.getsockopt(level, name)
    return sock.getsockopt(level, name, 16)[: len(like)]


def values(socks: dict[str, socket.socket]) -> dict[str, list[int | bytes]]:
    return {name: [value(socks[name], *row) for row in rows] for name, rows in WANTED.items()}


def join(sock: socket.socket, version: int) -> int:
    """Join the group of that family on lo; 0, or the number of the error."""
    family, level = ((socket.AF_INET, IP), (socket.AF_INET6, IPV6))[version == 6]
    packed = socket.inet_pton(family, GROUPS[version])
    address = (
        struct.pack("=HH4s", family, 0, packed) if version == 4 else struct.pack("=HHI16sI", family, 0, 0, packed, 0)
    )
    try:
        sock.setsockopt(level, 42, struct.pack("=I4x128s", socket.if_nametoindex("lo"), address))
    except OSError as error:
        return error.errno or 0
    return 0


with workload() as check:
    os.system("ip link set lo up 2>/dev/null")
    listener = socket.create_server(("127.0.0.1", 0))
    socks = {
        "stream": socket.socket(),
        "listener": listener,
        "client": socket.create_connection(listener.getsockname()),
        "dgram": socket.socket(socket.AF_INET, DGRAM),
        "dgram6": socket.socket(socket.AF_INET6, DGRAM),
        "netlink": socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    }
    accepted = listener.accept()[0]
    socks["unix"], other = socket.socketpair()
    other.send(b"abcdef")
    for name, rows in WANTED.items():
        for level, option, wanted in rows:
            socks[name].setsockopt(level, option, wanted)
    for name, version in (("dgram", 4), ("dgram6", 6)):
        check.equal(join(socks[name], version), 0, "error of the first join")
    queues = {}
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        receiver, wide, sender = (socket.socket(family, DGRAM) for _ in range(3))
        receiver.bind((host, 0))
        wide.bind(("", 0))
        sender.bind((host, 0))
        for data in (b"one", b"", b"x" * 30000, b"four"):
            sender.sendto(data, receiver.getsockname())
            sender.sendto(data, (host, wide.getsockname()[1]))
        queues[family] = (receiver, wide, sender.getsockname())
    before = values(socks)
    check.wait()
    for family, (receiver, wide, name) in queues.items():
        for sock in (receiver, wide):
            sock.setblocking(False)
            found = [sock.recvfrom(65536) for _ in range(4)]
            wanted = [(data, name) for data in (b"one", b"", b"x" * 30000, b"four")]
            check.equal(found, wanted, f"datagrams of a socket of family {family}")
    after = values(socks)
    for name, rows in WANTED.items():
        for row, found, expected in zip(rows, after[name], before[name], strict=True):
            check.equal(found, expected, f"option {row[:2]} of {name}")
    for name, version in (("dgram", 4), ("dgram6", 6)):
        check.equal(join(socks[name], version), errno.EADDRINUSE, f"error of the second join of {name}")
    check.equal(socks["unix"].recv(10, socket.MSG_PEEK), b"def", "what is seen from SO_PEEK_OFF on")
    check.equal(socks["unix"].recv(10), b"abcdef", "what is read")
    socks["client"].send(b"on")
    check.equal(accepted.recv(10), b"on", "data over the connection")
