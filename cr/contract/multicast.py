"""Multicast groups that a socket is a member of (ip(7), ipv6(7), RFC 3678).

The kernel lists the groups of a network namespace's interfaces; each socket is asked for each of them.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from typing import TYPE_CHECKING

from cr import log
from cr.contract.socket_extras import extras_of, known_extras
from cr.kernel import proc
from cr.kernel.libc import syscall
from cr.kernel.sockets import lent

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_JOIN_GROUP, _JOIN_SOURCE_GROUP, _MSFILTER = 42, 46, 48
_EXCLUDE, _INCLUDE = 0, 1
_MOST_SOURCES = 1024
_ADDRESS = 128  # struct sockaddr_storage
_LEVELS = {4: socket.IPPROTO_IP, 16: socket.IPPROTO_IPV6}


def dump_memberships(file_id: int, sock: socket.socket, network: int, context: DumpContext) -> None:
    """Note the groups of a socket.  The caller is in its network namespace."""
    for interface, group in context.once(("multicast groups", network), _groups):
        if len(group) == 4 and sock.family == socket.AF_INET6 and sock.getsockopt(41, socket.IPV6_V6ONLY):
            continue
        if len(group) == 16 and sock.family == socket.AF_INET:
            continue
        found = _filter(sock.fileno(), interface, group)
        if found is not None:
            mode, sources = found
            extras_of(file_id, context).membership.add(
                interface=interface, group=group, include=mode == _INCLUDE, source=sources
            )


def _groups() -> set[tuple[int, bytes]]:
    """(interface, packed address) of every group of this network namespace."""
    return {*_groups_of_ipv6(), *_groups_of_ipv4()}


def _groups_of_ipv6() -> list[tuple[int, bytes]]:
    rows = [line.split() for line in _table("igmp6")]
    return [(int(row[0]), bytes.fromhex(row[2])) for row in rows]


def _groups_of_ipv4() -> list[tuple[int, bytes]]:
    """Interfaces have lines of their own, with their groups in indented lines behind them."""
    found, interface = [], 0
    for line in _table("igmp")[1:]:
        words = line.split()
        if line[:1].isdigit():
            interface = int(words[0])
        else:
            found.append((interface, bytes.fromhex(words[0])[::-1]))
    return found


def _table(name: str) -> list[str]:
    """Lines of a table of this network namespace; none where the kernel has no such protocol."""
    try:
        return proc.read_text("thread-self", f"net/{name}").splitlines()
    except FileNotFoundError:
        return []


def _sockaddr(address: bytes) -> bytes:
    """struct sockaddr_storage of a packed address."""
    if len(address) == 4:
        return struct.pack("=HH4s", socket.AF_INET, 0, address).ljust(_ADDRESS, b"\0")
    return struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, address, 0).ljust(_ADDRESS, b"\0")


def _packed(address: bytes, like: bytes) -> bytes:
    return address[4:8] if len(like) == 4 else address[8:24]


def _filter(fd: int, interface: int, group: bytes) -> tuple[int, list[bytes]] | None:
    """(mode, sources) of a socket's membership in a group (struct group_filter); None where it is no member."""
    head = struct.pack("=I4x128sII", interface, _sockaddr(group), 0, _MOST_SOURCES)
    buffer = ctypes.create_string_buffer(head, len(head) + _MOST_SOURCES * _ADDRESS)
    size = ctypes.c_uint32(len(buffer))
    try:
        syscall("getsockopt", 55, fd, _LEVELS[len(group)], _MSFILTER, buffer, ctypes.byref(size))
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENODEV, errno.ENOPROTOOPT):
            return None
        raise
    mode, count = struct.unpack_from("=II", buffer.raw, 136)
    entries = (buffer.raw[start : start + _ADDRESS] for start in range(144, 144 + count * _ADDRESS, _ADDRESS))
    return mode, [_packed(entry, group) for entry in entries]


def restore_memberships(fd: int, file_id: int, context: RestoreContext) -> None:
    """Join the groups again, in the network namespace that the caller is in; a missing interface is told."""
    entry = known_extras(file_id, context)
    for member in entry.membership if entry is not None else ():
        try:
            _join(fd, member)
        except OSError as error:
            log.warning(
                f"socket {file_id:#x} is not in multicast group {_show(member.group)} of the interface with index "
                f"{member.interface} again: {error.strerror}"
            )


def _show(group: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(group) == 4 else socket.AF_INET6, group)


def _join(fd: int, member: m.woodfrog_membership) -> None:
    level, head = _LEVELS[len(member.group)], struct.pack("=I4x128s", member.interface, _sockaddr(member.group))
    with lent(fd) as sock:
        if member.include:
            for source in member.source:
                sock.setsockopt(level, _JOIN_SOURCE_GROUP, head + _sockaddr(source))
            return
        sock.setsockopt(level, _JOIN_GROUP, head)
        if member.source:
            sources = b"".join(map(_sockaddr, member.source))
            sock.setsockopt(level, _MSFILTER, head + struct.pack("=II", _EXCLUDE, len(member.source)) + sources)
