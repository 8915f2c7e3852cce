"""Internet sockets made again: bound, connected, with the options they had."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.multicast import restore_memberships
from cr.contract.outside_files import inherited_copy
from cr.contract.socket_extras import restore_extras
from cr.contract.socket_options import bind_to_device, restore_options, restore_status
from cr.kernel.sockets import CLOSE, LISTEN, SYN_SENT, lent
from cr.model import CheckpointError
from cr.resources.sockets.inet_options import allow_any_address, restore_ip_options, restore_tcp_options
from cr.resources.sockets.tcp_rebuild import Connection
from cr.resources.sockets.udp_queue import refill

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from images import messages as m

IPPROTO_ICMPV6 = 58
_PINGS = {socket.IPPROTO_ICMP, IPPROTO_ICMPV6}
Address = tuple[str, int] | tuple[str, int, int, int]


def build(entry: m.inet_sk_entry, context: RestoreContext) -> int:
    """A descriptor of ours of the socket; connections come to life when all tasks are complete."""
    fd = inherited_copy(f"socket:[{entry.ino}]", context)
    if fd is not None:
        return fd
    with context.network(entry.ns_id):
        fd = _new(entry, context)
        try:
            _prepare(fd, entry)
            if not is_connection(entry):
                _open(fd, entry, context)
            elif _is_kept(entry, context):
                _connection(fd, entry, context)
            else:
                _close(fd)
        except BaseException:
            os.close(fd)
            raise
    restore_ip_options(fd, entry.ip_opts)
    if is_tcp(entry):
        restore_tcp_options(fd, entry.tcp_opts)
    restore_status(fd, entry.flags, entry.fown, context)
    whenever = context.spoken if is_connection(entry) else context.at_end  # what it never sent needs room
    whenever.append(partial(_finish, fd, entry, context))
    return fd


def _finish(fd: int, entry: m.inet_sk_entry, context: RestoreContext) -> None:
    """The options that matter to a socket that lives."""
    restore_options(fd, entry.opts)
    with context.network(entry.ns_id):
        restore_extras(fd, entry.id, context)
        restore_memberships(fd, entry.id, context)


def is_tcp(entry: m.inet_sk_entry) -> bool:
    return entry.type == socket.SOCK_STREAM and entry.proto == socket.IPPROTO_TCP


def is_connection(entry: m.inet_sk_entry) -> bool:
    """Whether there is, or was, a peer whose numbers are in a tcp-stream image."""
    return is_tcp(entry) and entry.state != LISTEN and entry.dst_port != 0


def _is_kept(entry: m.inet_sk_entry, context: RestoreContext) -> bool:
    """--tcp-close drops connections, at the dump or now; what a connection that is over has left is kept."""
    wanted = entry.state == CLOSE or not context.options.tcp_close
    return wanted and context.images.exists("tcp-stream", entry.ino)


def _close(fd: int) -> None:
    """A socket whose connection is over: nothing to read, nobody to write to."""
    with lent(fd) as sock, contextlib.suppress(OSError):  # ENOTCONN says that there is no connection, it works
        sock.shutdown(socket.SHUT_RDWR)


def _new(entry: m.inet_sk_entry, context: RestoreContext) -> int:
    kind = entry.type | socket.SOCK_CLOEXEC
    try:
        if entry.type == socket.SOCK_DGRAM and entry.proto in _PINGS:
            with _allowed_to_ping():
                return socket.socket(entry.family, kind, entry.proto).detach()
        return socket.socket(entry.family, kind, entry.proto).detach()
    except OSError as error:
        what = f"family {entry.family}, type {entry.type}, protocol {entry.proto}"
        raise CheckpointError(f"cannot make a socket of {what}: {error.strerror}") from error


@contextmanager
def _allowed_to_ping() -> Iterator[None]:
    """Inside the block our group is one that may have ICMP sockets (net.ipv4.ping_group_range)."""
    with open("/proc/sys/net/ipv4/ping_group_range") as file:
        lowest = int(file.read().split()[0])
    own = os.getegid()
    try:
        os.setegid(lowest)
        yield
    finally:
        os.setegid(own)


def _prepare(fd: int, entry: m.inet_sk_entry) -> None:
    """What matters when it is bound; the final values of the reuse options come at the end."""
    with lent(fd) as sock:
        only = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        if entry.HasField("v6only") and bool(sock.getsockopt(*only)) != entry.v6only:
            sock.setsockopt(*only, int(entry.v6only))
        if entry.opts.so_bound_dev:
            bind_to_device(sock, entry.opts.so_bound_dev)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if entry.opts.so_reuseport or entry.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    allow_any_address(fd)


def _open(fd: int, entry: m.inet_sk_entry, context: RestoreContext) -> None:
    """Bind, listen, connect a socket without a TCP connection."""
    with lent(fd) as sock:
        if entry.src_port or any(entry.src_addr):
            bind(sock, entry)
        if entry.state == LISTEN:
            sock.listen(entry.backlog)
        elif entry.dst_port or any(entry.dst_addr):
            sock.connect(address(entry, "dst"))
            if entry.shutdown:
                sock.shutdown(entry.shutdown - 1)
        if entry.proto == socket.IPPROTO_UDP and entry.type == socket.SOCK_DGRAM:
            refill(sock, entry, context)


def bind(sock: socket.socket, entry: m.inet_sk_entry) -> None:
    try:
        sock.bind(address(entry, "src"))
    except OSError as error:
        place = address(entry, "src")
        raise CheckpointError(
            f"cannot bind a socket to {place[0]} port {place[1]}: {error.strerror}; "
            "the restore needs this address, and the port must be free"
        ) from error


def address(entry: m.inet_sk_entry, side: str) -> Address:
    """One end as Python's socket functions take it."""
    words = getattr(entry, f"{side}_addr")
    host = socket.inet_ntop(entry.family, struct.pack(f"<{len(words)}I", *words))
    port = getattr(entry, f"{side}_port") if entry.type != socket.SOCK_RAW else 0
    if entry.family == socket.AF_INET:
        return host, port
    scope = socket.if_nametoindex(entry.ifname) if entry.ifname else 0
    return host, port, 0, scope


def _connection(fd: int, entry: m.inet_sk_entry, context: RestoreContext) -> None:
    """Put a TCP connection together in silence, to be set going at the end."""
    stream, payload = next(iter(context.images.reader("tcp-stream", entry.ino)))
    content = payload.bytes()
    received, sent = content[: stream.inq_len], content[stream.inq_len :]
    with lent(fd) as sock:
        ends = (lambda: bind(sock, entry)), address(entry, "dst")
        connection = Connection(fd, entry, stream, received, sent)
        if entry.state == SYN_SENT:
            connection.prepare_request(sock, *ends)
        else:
            connection.assemble(sock, *ends)

    context.at_end.append(partial(_inside, connection.start, entry, context))
    context.released.append(partial(_inside, connection.wake, entry, context))
    context.spoken.append(partial(_inside, connection.speak, entry, context))


def _inside(action: Callable[[], None], entry: m.inet_sk_entry, context: RestoreContext) -> None:
    with context.network(entry.ns_id):
        action()
