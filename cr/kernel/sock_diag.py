"""Facts about sockets that only netlink tells (sock_diag(7)): peers, queues, shutdown, names.

Requests go to the network namespace that the calling thread is in.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from cr.values import dataclass, field

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
_HEADER = struct.Struct("<IHHII")
_BUFFER = 1 << 18
_NO_COOKIE = 0xFFFFFFFF

UDIAG_SHOW_ALL = 0x7F
UNIX_DIAG_NAME, UNIX_DIAG_VFS, UNIX_DIAG_PEER, UNIX_DIAG_ICONS, UNIX_DIAG_RQLEN = 0, 1, 2, 3, 4
UNIX_DIAG_SHUTDOWN = 6
INET_DIAG_SHUTDOWN = 8
PACKET_DIAG_MCLIST = 1


def query(request: bytes, *, dump: bool) -> Iterator[bytes]:
    """Send one sock_diag request and give the body of every answer.

    OSError with the kernel's errno where it refuses (ENOENT: no such socket).
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
        flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else 0)
        link.send(_HEADER.pack(_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + request)
        while True:
            done = False
            for kind, body in messages(link.recv(_BUFFER)):
                if kind == NLMSG_ERROR:
                    _fail(struct.unpack_from("<i", body)[0])
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    done = True
                    break
                yield body
            if done or not dump:
                return


def _fail(error: int) -> None:
    if error:
        import os

        raise OSError(-error, f"sock_diag: {os.strerror(-error)}")


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each netlink message of a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _flags, _seq, _pid = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """Netlink attributes by type."""
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("<HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


@dataclass(frozen=True)
class UnixFacts:
    """What UNIX_DIAG says about one unix socket.

    `peer` is the inode of the socket it is connected to, 0 where there is none (any more); `waiting` are the
    inodes of clients that are connected but not accepted (0: the client is gone); `receive_queue` is the number of
    unread bytes, `send_queue` the memory of what the peer has not read; for a listening socket they are
    the number of waiting connections and the backlog.
    """

    type: int
    state: int
    inode: int
    name: bytes = b""
    file: tuple[int, int] | None = None
    peer: int | None = None
    waiting: tuple[int, ...] = field(default=())
    receive_queue: int = 0
    send_queue: int = 0
    shutdown: int = 0


def unix_socket(inode: int) -> UnixFacts:
    """The unix socket with this inode; FileNotFoundError where this network namespace has none."""
    request = struct.pack("<BBHIII2I", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, UDIAG_SHOW_ALL, _NO_COOKIE, _NO_COOKIE)
    return parse_unix(next(query(request, dump=False)))


def parse_unix(body: bytes) -> UnixFacts:
    """struct unix_diag_msg with its attributes."""
    _family, kind, state, _pad, inode, _c1, _c2 = struct.unpack_from("<BBBBIII", body)
    found = attributes(body[16:])
    words = {key: struct.unpack(f"<{len(value) // 4}I", value[: len(value) & ~3]) for key, value in found.items()}
    received, sent = words.get(UNIX_DIAG_RQLEN, (0, 0))
    vfs = words.get(UNIX_DIAG_VFS)
    return UnixFacts(
        type=kind,
        state=state,
        inode=inode,
        name=found.get(UNIX_DIAG_NAME, b""),
        file=(vfs[1], vfs[0]) if vfs else None,
        peer=words[UNIX_DIAG_PEER][0] if UNIX_DIAG_PEER in words else None,
        waiting=words.get(UNIX_DIAG_ICONS, ()),
        receive_queue=received,
        send_queue=sent,
        shutdown=found.get(UNIX_DIAG_SHUTDOWN, b"\0")[0],
    )


@dataclass(frozen=True)
class InetFacts:
    """What INET_DIAG says about one socket that getsockopt(2) does not."""

    state: int
    inode: int
    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    interface: int
    receive_queue: int
    send_queue: int
    shutdown: int


def inet_sockets(family: int, protocol: int) -> Iterator[InetFacts]:
    """All sockets of a family and protocol in this network namespace; empty where the kernel lacks the module."""
    head = struct.pack("<BBBxI", family, protocol, 0xFF, 0xFFFFFFFF)
    identity = struct.pack("<HH16s16sI2I", 0, 0, b"", b"", 0, _NO_COOKIE, _NO_COOKIE)
    try:
        for body in query(head + identity, dump=True):
            yield parse_inet(body)
    except FileNotFoundError:
        return


def parse_inet(body: bytes) -> InetFacts:
    """struct inet_diag_msg with its attributes."""
    family, state, _timer, _retrans = struct.unpack_from("<4B", body)
    size = 4 if family == socket.AF_INET else 16
    sport, dport = struct.unpack_from(">HH", body, 4)
    source, destination, interface = struct.unpack_from("<16s16sI", body, 8)
    _expires, received, sent, _uid, inode = struct.unpack_from("<5I", body, 52)
    found = attributes(body[72:])
    shutdown = found.get(INET_DIAG_SHUTDOWN, b"\0")[0]
    return InetFacts(
        state, inode, (source[:size], sport), (destination[:size], dport), interface, received, sent, shutdown
    )


@dataclass(frozen=True)
class PacketFacts:
    """What PACKET_DIAG says about a packet socket: protocol in host order, `memberships` as (interface, type,
    address), rings as the seven words of struct packet_diag_ring, `fanout` None where it has none."""

    type: int
    protocol: int
    interface: int
    version: int
    reserve: int
    copy_threshold: int
    timestamp: int
    flags: int
    memberships: tuple[tuple[int, int, bytes], ...]
    receive_ring: tuple[int, ...]
    send_ring: tuple[int, ...]
    fanout: int | None


def packet_sockets() -> dict[int, PacketFacts]:
    """Inode -> facts of all packet sockets of this network namespace."""
    request = struct.pack("<BBxxIIII", socket.AF_PACKET, 0, 0, 0x0F, _NO_COOKIE, _NO_COOKIE)
    return dict(parse_packet(body) for body in query(request, dump=True))


def parse_packet(body: bytes) -> tuple[int, PacketFacts]:
    """struct packet_diag_msg with its attributes."""
    _family, kind, protocol, inode = struct.unpack_from("<BBHI", body)
    found = attributes(body[16:])
    index, version, reserve, threshold, timestamp, flags = struct.unpack_from("<6I", found[0])
    members = found.get(PACKET_DIAG_MCLIST, b"")
    memberships = tuple(
        (interface, member, address[:length])
        for interface, _count, member, length, address in struct.iter_unpack("<IIHH32s", members)
    )
    rings = [struct.unpack("<7I", found[key]) if key in found else () for key in (2, 3)]
    fanout = struct.unpack("<I", found[4])[0] if 4 in found else None
    return inode, PacketFacts(
        kind, protocol, index, version, reserve, threshold, timestamp, flags, memberships, rings[0], rings[1], fanout
    )


@dataclass(frozen=True)
class NetlinkFacts:
    """What NETLINK_DIAG says about a netlink socket."""

    state: int
    port: int
    peer_port: int
    peer_group: int


def netlink_sockets(protocol: int) -> dict[int, NetlinkFacts]:
    """Inode -> facts of all bound netlink sockets of a protocol in this network namespace."""
    request = struct.pack("<BBxxIIII", socket.AF_NETLINK, protocol, 0, 0, _NO_COOKIE, _NO_COOKIE)
    found = {}
    for body in query(request, dump=True):
        state, port, peer, group, inode = struct.unpack_from("<3xB4I", body)
        found[inode] = NetlinkFacts(state, port, peer, group)
    return found
