"""Internet sockets: TCP, UDP, UDP-Lite, ICMP ("ping") and raw ones, of IPv4 and IPv6 (ip(7), tcp(7), udp(7))."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cr.contract.multicast import dump_memberships
from cr.contract.network import network_id, network_of_socket
from cr.contract.owner import dump_owner
from cr.contract.resource import FdResource
from cr.contract.socket_extras import dump_extras, write_extras
from cr.contract.socket_options import dump_options
from cr.contract.sockets import family_of
from cr.kernel import sock_diag, tcp
from cr.kernel.sockets import CLOSE, ESTABLISHED, LISTEN, RCV_SHUTDOWN, get_optional, lent
from cr.resources.sockets.inet_build import build
from cr.resources.sockets.inet_options import IPPROTO_ICMPV6, dump_ip_options, dump_tcp_options
from cr.resources.sockets.tcp_stream import dump_stream
from cr.resources.sockets.udp_queue import dump_datagrams

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from cr.kernel.sock_diag import InetFacts
    from cr.options import Options
    from images import messages as m

SO_PEERNAME = 28
IPPROTO_UDPLITE = 136
UDP_CORK = 1
_DATAGRAM = {socket.IPPROTO_UDP, IPPROTO_UDPLITE, socket.IPPROTO_ICMP, IPPROTO_ICMPV6}


class InetSocket(FdResource):
    """socket(AF_INET, ...) and socket(AF_INET6, ...)."""

    type = 4
    field = "isk"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return family_of(file) in (socket.AF_INET, socket.AF_INET6)

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        with lent(file.local) as sock:
            return list(_reasons_against(sock, file, context))

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.inet_sk_entry:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        entry = m.inet_sk_entry(id=file.id, ino=file.stat.st_ino, flags=file.flags & ~os.O_CLOEXEC, backlog=0)
        with lent(file.local) as sock:
            entry.family, entry.type, entry.proto = sock.family, sock.type, sock.proto
            with network_of_socket(file.local) as network:
                _describe_ends(entry, sock, _facts(sock, file.stat.st_ino, network, context))
                dump_extras(file, network, context, state=entry.state if entry.dst_port else 0)
                if sock.type != socket.SOCK_STREAM:
                    dump_memberships(file.id, sock, network, context)
            entry.ns_id = network_id(network, file, context)
            entry.fown.CopyFrom(dump_owner(file))
            entry.opts.CopyFrom(dump_options(file.local))
            if sock.family == socket.AF_INET6:
                entry.v6only = bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
            dump_ip_options(sock, entry.ip_opts)
            dump_tcp_options(sock, entry.tcp_opts)
            if sock.type == socket.SOCK_STREAM and sock.proto == socket.IPPROTO_TCP:
                _dump_tcp(entry, sock, context)
            if sock.type == socket.SOCK_DGRAM and sock.proto == socket.IPPROTO_UDP:
                dump_datagrams(file.id, sock, context)
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        write_extras(context)

    @classmethod
    def describe(cls, entry: m.inet_sk_entry) -> str:
        return f"internet socket {entry.id:#x}: {show_end(entry, 'src')} to {show_end(entry, 'dst')}"

    @classmethod
    def make(cls, entry: m.inet_sk_entry, context: RestoreContext) -> int:
        return build(entry, context)


def show_end(entry: m.inet_sk_entry, side: str) -> str:
    words = getattr(entry, f"{side}_addr")
    host = socket.inet_ntop(entry.family, struct.pack(f"<{len(words)}I", *words)) if words else "?"
    return f"{host} port {getattr(entry, f'{side}_port')}"


def _facts(sock: socket.socket, inode: int, network: int, context: DumpContext) -> InetFacts | None:
    """What netlink knows about a socket; it knows no closed or unbound ones."""
    family, protocol = int(sock.family), sock.proto
    if sock.type == socket.SOCK_RAW:
        return None

    def ask() -> dict[int, InetFacts]:
        return {facts.inode: facts for facts in sock_diag.inet_sockets(family, protocol)}

    return context.once(("inet diag", network, family, protocol), ask).get(inode)


def _describe_ends(entry: m.inet_sk_entry, sock: socket.socket, facts: InetFacts | None) -> None:
    """State, addresses, ports, shutdown and backlog."""
    if facts is not None:
        source, destination = facts.source, facts.destination
        entry.state = facts.state
        entry.backlog = facts.send_queue
        if facts.shutdown:
            entry.shutdown = facts.shutdown  # type: ignore[assignment]
    else:
        source, destination = _ends(sock)
        connected = destination[1] or any(destination[0])
        entry.state = ESTABLISHED if connected and sock.type != socket.SOCK_STREAM else CLOSE
        if connected and sock.type == socket.SOCK_STREAM:
            entry.shutdown = RCV_SHUTDOWN  # type: ignore[assignment]
    for side, (address, port) in {"src": source, "dst": destination}.items():
        getattr(entry, f"{side}_addr").extend(word for (word,) in struct.iter_unpack("<I", address))
        setattr(entry, f"{side}_port", port)
    name = sock.getsockname()
    if len(name) == 4 and name[3]:
        entry.ifname = socket.if_indextoname(name[3])


def _ends(sock: socket.socket) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
    """Both ends as getsockname(2) and SO_PEERNAME tell them: zeros where there is none."""
    host, port = sock.getsockname()[:2]
    source = socket.inet_pton(sock.family, host.partition("%")[0])
    start, size = (4, 16) if sock.family == socket.AF_INET else (8, 28)
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERNAME, size)
    except OSError:
        return (source, port), (bytes(len(source)), 0)
    return (source, port), (raw[start : start + len(source)], struct.unpack_from(">H", raw, 2)[0])


def _reasons_against(sock: socket.socket, file: OpenFile, context: DumpContext) -> Iterator[str]:
    if sock.type == socket.SOCK_STREAM and sock.proto == socket.IPPROTO_TCP:
        yield from _tcp_reasons(sock, file, context.options)
    elif sock.type == socket.SOCK_DGRAM and sock.proto in _DATAGRAM:
        if sock.proto in (socket.IPPROTO_UDP, IPPROTO_UDPLITE) and get_optional(sock, sock.proto, UDP_CORK):
            yield f"{file} is a corked UDP socket, which cannot be dumped: let the task clear UDP_CORK first"
    elif sock.type != socket.SOCK_RAW:
        yield f"{file} is a socket of protocol {sock.proto}, which is not supported: close it first"


def _tcp_reasons(sock: socket.socket, file: OpenFile, options: Options) -> Iterator[str]:
    found = tcp.info(sock)
    if layer := tcp.upper_layer(sock):
        yield f"{file} has the kernel speak {layer} (TCP_ULP), whose keys cannot be read: let the program do that"
    if found.state == LISTEN:
        if found.unacked and not options.skip_in_flight:
            yield (
                f"{file} listens and has {found.unacked} connections that are not accepted yet: "
                "use --skip-in-flight to drop them"
            )
    elif found.state != CLOSE and not (options.tcp_established or options.tcp_close):
        yield f"{file} is a TCP connection: use --tcp-established to keep it, or --tcp-close to drop it"


def _dump_tcp(entry: m.inet_sk_entry, sock: socket.socket, context: DumpContext) -> None:
    options = context.options
    if entry.state == LISTEN:
        entry.backlog = tcp.info(sock).sacked
    elif entry.dst_port and (entry.state == CLOSE or (options.tcp_established and not options.tcp_close)):
        dump_stream(entry, sock, context)
