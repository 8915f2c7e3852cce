"""Options of the internet protocols (ip(7), ipv6(7), tcp(7), raw(7)): ip_opts_entry and tcp_opts_entry."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from cr.kernel.sockets import get_optional, lent

if TYPE_CHECKING:
    from images import messages as m

IP_PKTINFO, IP_FREEBIND, IP_NODEFRAG = 8, 15, 22
IPV6_FREEBIND = 78
IPV6_HDRINCL = 36
_IP, _IPV6, _TCP = socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.IPPROTO_TCP
_SOL_RAW, _ICMP_FILTER = 255, 1
_ICMP_FILTER_SIZE, _ICMPV6_FILTER_SIZE = 4, 32
IPPROTO_ICMPV6 = 58

_V4_FLAGS = {"freebind": (_IP, IP_FREEBIND), "pktinfo": (_IP, IP_PKTINFO)}
_V6_FLAGS = {"freebind": (_IPV6, IPV6_FREEBIND), "pktinfo": (_IPV6, socket.IPV6_RECVPKTINFO)}
_V4_NUMBERS = {"tos": socket.IP_TOS, "ttl": socket.IP_TTL}
_V4_RAW = {"hdrincl": (_IP, socket.IP_HDRINCL), "nodefrag": (_IP, IP_NODEFRAG)}
_V6_RAW = {"hdrincl": (_IPV6, IPV6_HDRINCL)}
_TCP_FLAGS = {"cork": socket.TCP_CORK, "nodelay": socket.TCP_NODELAY}
_TCP_NUMBERS = {"keepcnt": socket.TCP_KEEPCNT, "keepidle": socket.TCP_KEEPIDLE, "keepintvl": socket.TCP_KEEPINTVL}


def dump_ip_options(sock: socket.socket, entry: m.ip_opts_entry) -> None:
    entry.SetInParent()
    v4 = sock.family == socket.AF_INET
    for name, (level, option) in (_V4_FLAGS if v4 else _V6_FLAGS).items():
        if get_optional(sock, level, option):
            setattr(entry, name, True)
    if v4:
        for name, option in _V4_NUMBERS.items():
            if value := sock.getsockopt(_IP, option):
                setattr(entry, name, value)
    if sock.type == socket.SOCK_RAW:
        _dump_raw(sock, entry.raw)


def _dump_raw(sock: socket.socket, entry: m.ip_opts_raw_entry) -> None:
    entry.SetInParent()
    v4 = sock.family == socket.AF_INET
    for name, (level, option) in (_V4_RAW if v4 else _V6_RAW).items():
        if get_optional(sock, level, option):
            setattr(entry, name, True)
    if found := _icmp_filter(sock):
        level, size = found
        content = sock.getsockopt(level, _ICMP_FILTER, size)
        entry.icmpv_filter.extend(word for (word,) in struct.iter_unpack("<I", content))


def _icmp_filter(sock: socket.socket) -> tuple[int, int] | None:
    """(level, size) of the filter of ICMP types, which raw sockets of these protocols have."""
    if (sock.family, sock.proto) == (socket.AF_INET, socket.IPPROTO_ICMP):
        return _SOL_RAW, _ICMP_FILTER_SIZE
    if (sock.family, sock.proto) == (socket.AF_INET6, IPPROTO_ICMPV6):
        return IPPROTO_ICMPV6, _ICMPV6_FILTER_SIZE
    return None


def allow_any_address(fd: int) -> None:
    """Bind to an address that is not there yet, or was there when the task bound to it."""
    with lent(fd) as sock:
        level, option = (_V4_FLAGS if sock.family == socket.AF_INET else _V6_FLAGS)["freebind"]
        sock.setsockopt(level, option, 1)


def restore_ip_options(fd: int, entry: m.ip_opts_entry) -> None:
    with lent(fd) as sock:
        v4 = sock.family == socket.AF_INET
        for name, (level, option) in (_V4_FLAGS if v4 else _V6_FLAGS).items():
            sock.setsockopt(level, option, int(getattr(entry, name)))
        for name, option in _V4_NUMBERS.items():
            if v4 and entry.HasField(name):
                sock.setsockopt(_IP, option, getattr(entry, name))
        if entry.HasField("raw"):
            _restore_raw(sock, entry.raw)


def _restore_raw(sock: socket.socket, entry: m.ip_opts_raw_entry) -> None:
    for name, (level, option) in (_V4_RAW if sock.family == socket.AF_INET else _V6_RAW).items():
        if getattr(entry, name):
            sock.setsockopt(level, option, 1)
    found = _icmp_filter(sock)
    if entry.icmpv_filter and found:
        content = struct.pack(f"<{len(entry.icmpv_filter)}I", *entry.icmpv_filter)
        sock.setsockopt(found[0], _ICMP_FILTER, content[: found[1]])


def dump_tcp_options(sock: socket.socket, entry: m.tcp_opts_entry) -> None:
    entry.SetInParent()
    if sock.proto != _TCP or sock.type != socket.SOCK_STREAM:
        return
    for name, option in _TCP_FLAGS.items():
        if sock.getsockopt(_TCP, option):
            setattr(entry, name, True)
    for name, option in _TCP_NUMBERS.items():
        setattr(entry, name, sock.getsockopt(_TCP, option))


def restore_tcp_options(fd: int, entry: m.tcp_opts_entry) -> None:
    with lent(fd) as sock:
        for name, option in {**_TCP_FLAGS, **_TCP_NUMBERS}.items():
            wanted = int(getattr(entry, name))
            if entry.HasField(name) and sock.getsockopt(_TCP, option) != wanted:
                sock.setsockopt(_TCP, option, wanted)
