"""Sockets: the numbers that Python's socket module lacks, options read and written by descriptor.

Sources: socket(7), unix(7), sock_diag(7); asm-generic/socket.h, linux/sockios.h, linux/un.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

from cr.kernel.libc import syscall

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
SO_ATTACH_FILTER = 26
SO_GET_FILTER = 26
SO_LOCK_FILTER = 44
SO_PEEK_OFF = 42
SO_BUF_LOCK = 72
SO_NO_CHECK = 11
SO_MAX_PACING_RATE = 47
SO_PASSPIDFD = 76

SIOCGSKNS = 0x894C
SIOCUNIXFILE = 0x89E0
SIOCOUTQ = 0x5411

ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT = 1, 2, 3, 4, 5, 6
CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING = 7, 8, 9, 10, 11
"""States of a socket (include/net/tcp_states.h), for all families."""

RCV_SHUTDOWN, SEND_SHUTDOWN = 1, 2


class lent:  # noqa: N801 (reads like a function: `with lent(fd) as sock`)
    """Inside the block a Python socket over the descriptor, which stays open afterwards."""

    def __init__(self, fd: int) -> None:
        self.sock = socket.socket(fileno=fd)

    def __enter__(self) -> socket.socket:
        return self.sock

    def __exit__(self, *_: object) -> None:
        self.sock.detach()


def get_optional(sock: socket.socket, level: int, option: int) -> int | None:
    """An option's value; None where this kind of socket does not know it."""
    try:
        return sock.getsockopt(level, option)
    except OSError:
        return None


def set_buffer(sock: socket.socket, forced: int, size: int) -> None:
    """SO_SNDBUFFORCE or SO_RCVBUFFORCE; without CAP_NET_ADMIN as much of the size as everybody may have."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, forced, size)
    except PermissionError:
        ordinary = {SO_SNDBUFFORCE: socket.SO_SNDBUF, SO_RCVBUFFORCE: socket.SO_RCVBUF}[forced]
        sock.setsockopt(socket.SOL_SOCKET, ordinary, size)


def network_of(fd: int) -> int:
    """A descriptor of the network namespace that a socket lives in (SIOCGSKNS).

    Without CAP_NET_ADMIN there it is our own: no other one could be looked into.
    """
    try:
        return fcntl.ioctl(fd, SIOCGSKNS)
    except PermissionError:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def bound_file(fd: int) -> int | None:
    """An O_PATH descriptor of the file that a unix socket is bound to (SIOCUNIXFILE), None where there is none."""
    try:
        found = fcntl.ioctl(fd, SIOCUNIXFILE)
    except OSError:
        return None
    os.set_inheritable(found, False)
    return found


def unread_by_peer(fd: int) -> int:
    """Bytes of memory that what was sent and not read yet takes (SIOCOUTQ)."""
    size: int = struct.unpack("i", fcntl.ioctl(fd, SIOCOUTQ, bytes(4)))[0]
    return size


def disconnect(fd: int) -> None:
    """connect(2) with AF_UNSPEC: the socket has no peer any more."""
    syscall("connect", 42, fd, ctypes.create_string_buffer(bytes(16), 16), 16)


def bind_by_name(sock: socket.socket, name: str) -> None:
    """bind(2) of an old SOCK_PACKET socket to an interface (struct sockaddr with its name)."""
    address = struct.pack("<H14s", socket.AF_PACKET, name.encode())
    syscall("bind", 49, sock.fileno(), ctypes.create_string_buffer(address, 16), 16)


def classic_filter(fd: int) -> bytes:
    """The socket's classic BPF program (SO_GET_FILTER): 8 bytes an instruction, empty where it has none."""
    count = ctypes.c_uint32(0)
    syscall("getsockopt", 55, fd, socket.SOL_SOCKET, SO_GET_FILTER, None, ctypes.byref(count))
    program = ctypes.create_string_buffer(count.value * 8)
    if count.value:
        syscall("getsockopt", 55, fd, socket.SOL_SOCKET, SO_GET_FILTER, program, ctypes.byref(count))
    return program.raw


def has_unreadable_filter(fd: int) -> bool:
    """Whether the socket has a filter that SO_GET_FILTER does not show: an eBPF program."""
    try:
        classic_filter(fd)
    except PermissionError:
        return True
    return False


def attach_filter(sock: socket.socket, program: bytes) -> None:
    """SO_ATTACH_FILTER of a classic BPF program."""
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
