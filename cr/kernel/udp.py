"""Datagrams of udp(7) made by hand (RFC 768), to arrive at a socket of this machine."""

from __future__ import annotations

import socket
import struct

from cr.kernel.tcp import checksum

_UDP = socket.IPPROTO_UDP
_IPV6_HDRINCL = 36

End = tuple[bytes, int]


def packet(source: End, destination: End, payload: bytes) -> bytes:
    """The whole IP packet; ends are (packed address of 4 or 16 bytes, port)."""
    length = 8 + len(payload)
    head = struct.pack(">HHHH", source[1], destination[1], length, 0)
    ends = source[0] + destination[0]
    pseudo = ends + (
        struct.pack(">BBH", 0, _UDP, length) if len(ends) == 8 else struct.pack(">IHBB", length, 0, 0, _UDP)
    )
    total = checksum(pseudo + head + payload + bytes(len(payload) % 2)) or 0xFFFF
    return _ip_header(source[0], destination[0], length) + head[:6] + struct.pack(">H", total) + payload


def _ip_header(source: bytes, destination: bytes, length: int) -> bytes:
    if len(source) == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, _UDP, 0)
    else:
        head = struct.pack(">IHBB", 6 << 28, length, _UDP, 64)
    return head + source + destination


def inject(source: End, destination: End, payload: bytes, mark: int) -> None:
    """Let a datagram arrive at a socket of this network namespace, whoever seems to have sent it.

    `mark` is the packet mark with which it passes a network lock.  OSError where the destination is no address
    of this namespace.
    """
    family, level, option = socket.AF_INET, socket.IPPROTO_IP, socket.IP_HDRINCL
    if len(destination[0]) == 16:
        family, level, option = socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_HDRINCL
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        raw.setsockopt(level, option, 1)
        raw.sendto(packet(source, destination, payload), (socket.inet_ntop(family, destination[0]), 0))
