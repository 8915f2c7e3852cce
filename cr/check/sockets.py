"""Sockets: their diagnosis, TCP's repair mode, options."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from cr.check.feature import NEEDED, Feature, apart, lacking
from cr.kernel import sockets
from cr.kernel.sockets import SIOCGSKNS, SIOCUNIXFILE, SO_BUF_LOCK

_TCP_REPAIR, _TCP_REPAIR_OFF_NO_WP, _TCP_REPAIR_WINDOW = 19, -1, 29
_IPV6_FREEBIND = 78


def _sock_diag() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4).close()


def _raw() -> None:
    """Raw sockets tell all about themselves, to whom holds a copy of the descriptor: raw_diag.ko is not needed."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
            sock.getsockname()
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)


def _socket_network() -> None:
    with socket.socket() as sock:
        os.close(fcntl.ioctl(sock.fileno(), SIOCGSKNS))


def _unix_file() -> None:
    """A socket without a file: the answer of a kernel that knows the request is ENOENT."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            os.close(fcntl.ioctl(sock.fileno(), SIOCUNIXFILE))
        except FileNotFoundError:
            return


@contextmanager
def _connection() -> Iterator[socket.socket]:
    """The client's side of a TCP connection in a network namespace of its own."""
    from cr.kernel.namespaces import CLONE_NEWNET, unshare

    unshare(CLONE_NEWNET)
    with socket.socket() as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        yield client


def _half_closed() -> None:
    with _connection() as client:
        client.shutdown(socket.SHUT_WR)
        client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _TCP_REPAIR_OFF_NO_WP)


def _tcp_window() -> None:
    with _connection() as client:
        client.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        client.getsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_WINDOW, 20)


def _has(family: int, level: int, option: int, sentence: str) -> None:
    with socket.socket(family) as sock:
        if sockets.get_optional(sock, level, option) is None:
            raise lacking(sentence)


def _peek_off() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, sockets.SO_PEEK_OFF, 0)


def _tun() -> None:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise OSError(error.errno, f"/dev/net/tun: {error.strerror}") from error


def _tun_network() -> None:
    """An attached tun descriptor tells its network namespace (SIOCGSKNS)."""
    from cr.kernel.namespaces import CLONE_NEWNET, unshare

    unshare(CLONE_NEWNET)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"probe", 1))  # TUNSETIFF, IFF_TUN
    fcntl.ioctl(fd, SIOCGSKNS)


FEATURES = (
    Feature("sock_diag", _sock_diag, NEEDED),
    Feature("sock_peek_off", _peek_off, NEEDED),
    Feature("net_diag_raw", _raw),
    Feature("sk_ns", _socket_network),
    Feature("sk_unix_file", _unix_file),
    Feature("tcp_half_closed", apart(_half_closed)),
    Feature("tcp_window", apart(_tcp_window)),
    Feature(
        "sockopt_buf_lock",
        lambda: _has(socket.AF_INET, socket.SOL_SOCKET, SO_BUF_LOCK, "there is no SO_BUF_LOCK (before Linux 5.15)"),
    ),
    Feature(
        "ipv6_freebind",
        lambda: _has(socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_FREEBIND, "there is no IPV6_FREEBIND"),
    ),
    Feature("tun", _tun),
    Feature("tun_ns", apart(_tun_network)),
)
