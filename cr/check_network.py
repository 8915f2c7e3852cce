"""What the kernel can do for networks and sockets, each thing tried on objects of our own (see cr/check.py)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

from cr.kernel import tcp
from cr.kernel.clone import CLONE_NEWNET
from cr.kernel.namespaces import unshare
from cr.kernel.sockets import SO_BUF_LOCK, bound_file, network_of

_TUNGETDEVNETNS, _TUNSETIFF, _TUN = 0x54E3, 0x400454CA, 1
_IPV6_FREEBIND = 78


def in_own_network(probe: Callable[[], None]) -> None:
    """Run a probe in a thread in a network namespace of its own, which goes with the thread."""
    from netns.enter import open_netns, run_in

    def act() -> None:
        unshare(CLONE_NEWNET)
        probe()

    own = open_netns()
    try:
        run_in(own, act)
    finally:
        os.close(own)


def _network_lock_nftables() -> None:
    """Lock an empty namespace, and unlock it."""
    from netns.errors import NetnsError
    from netns.lock import lock

    def probe() -> None:
        try:
            lock().unlock()
        except NetnsError as error:
            raise OSError(error.errno or errno.ENOSYS, str(error)) from error

    in_own_network(probe)


def _tcp_half_closed() -> None:
    """Repair of a connection that one side has shut down; half a connection is assembled out of nothing."""

    def probe() -> None:
        from netns.enter import open_netns
        from netns.loopback import bring_up

        network = open_netns()
        bring_up(network)
        os.close(network)
        with socket.socket() as listening, socket.socket() as client:
            listening.bind(("127.0.0.1", 0))
            listening.listen(1)
            client.connect(listening.getsockname())
            with listening.accept()[0] as server:
                server.shutdown(socket.SHUT_WR)
                with tcp.repair(client), tcp.repair(server):
                    tcp.window(client)

    in_own_network(probe)


def _sk_unix_file() -> None:
    """The file that a unix socket is bound to."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.join(directory, "socket"))
        found = bound_file(sock.fileno())
        if found is None:
            raise OSError(errno.ENOSYS, "the kernel does not tell the file of a unix socket")
        os.close(found)


def _sk_ns() -> None:
    """The network namespace that a socket is in."""
    with socket.socket(socket.AF_UNIX) as sock:
        os.close(network_of(sock.fileno()))


def _net_diag_raw() -> None:
    """What others ask netlink about a raw socket (CONFIG_INET_RAW_DIAG), we ask the socket itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as sock:
        sock.getsockname()


def _option(family: int, level: int, option: int) -> Callable[[], None]:
    def probe() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.getsockopt(level, option)

    return probe


def _tun() -> None:
    os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))


def _tun_ns() -> None:
    """The network namespace that a tun is in."""
    import fcntl

    def probe() -> None:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("=16sH22x", b"probe%d", _TUN))
            os.close(fcntl.ioctl(fd, _TUNGETDEVNETNS))
        finally:
            os.close(fd)

    in_own_network(probe)


NETWORK: dict[str, Callable[[], None]] = {
    "network_lock_nftables": _network_lock_nftables,
    "tcp_half_closed": _tcp_half_closed,
    "sk_unix_file": _sk_unix_file,
    "sk_ns": _sk_ns,
    "net_diag_raw": _net_diag_raw,
    "ipv6_freebind": _option(socket.AF_INET6, socket.IPPROTO_IPV6, _IPV6_FREEBIND),
    "sockopt_buf_lock": _option(socket.AF_INET, socket.SOL_SOCKET, SO_BUF_LOCK),
    "tun": _tun,
    "tun_ns": _tun_ns,
}
