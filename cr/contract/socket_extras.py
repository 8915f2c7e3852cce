"""Options of sockets that the image format has no field for: those that are not what a new socket has.

A new socket of the same family, type and protocol in the same network namespace is the measure, so the
defaults of the kernel and of its settings need not be known.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr import log
from cr.kernel import sockets
from cr.kernel.sockets import LISTEN, SO_LOCK_FILTER, SO_MAX_PACING_RATE, SO_PASSPIDFD, SO_PEEK_OFF, lent
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_SOL, _IP, _IPV6, _TCP, _UDP = socket.SOL_SOCKET, 0, 41, 6, 17
_NETLINK, _PACKET, _RAW6, _UDPLITE = 270, 263, 41, 136
_INT, _WORD64, _NAME = 4, 8, 16


@dataclass(frozen=True)
class Option:
    """An option that is read and written the same way, with a value of at most `size` bytes."""

    level: int
    name: int
    size: int = _INT


def _all(level: int, *names: int, size: int = _INT) -> list[Option]:
    return [Option(level, name, size) for name in names]


# SO_DEBUG, SO_TIMESTAMP, SO_TIMESTAMPNS, SO_RXQ_OVFL, SO_WIFI_STATUS, SO_NOFCS, SO_SELECT_ERR_QUEUE,
# SO_BUSY_POLL, SO_ZEROCOPY, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW, SO_PREFER_BUSY_POLL, SO_BUSY_POLL_BUDGET,
# SO_TXREHASH, SO_RCVMARK, SO_RCVPRIORITY, SO_PASSRIGHTS
_GENERAL = [
    *_all(_SOL, 1, 29, 35, 40, 41, 43, 45, 46, 60, 63, 64, 69, 70, 74, 75, 82, 83, SO_PASSPIDFD),
    *_all(_SOL, 37, 65, 61, SO_MAX_PACING_RATE, size=_WORD64),  # SO_TIMESTAMPING, ..._NEW, SO_TXTIME
]
# IP_RECVOPTS, IP_RETOPTS, IP_MTU_DISCOVER, IP_RECVERR, IP_RECVTTL, IP_RECVTOS, IP_TRANSPARENT,
# IP_RECVORIGDSTADDR, IP_MINTTL, IP_CHECKSUM, IP_BIND_ADDRESS_NO_PORT, IP_RECVFRAGSIZE, IP_RECVERR_RFC4884,
# IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_MULTICAST_ALL, IP_UNICAST_IF, IP_LOCAL_PORT_RANGE
_IPV4 = _all(_IP, 6, 7, 10, 11, 12, 13, 19, 20, 21, 23, 24, 25, 26, 32, 33, 34, 49, 50, 51)
# what an IPv6 socket that speaks IPv4 has besides: IP_TOS, IP_TTL, IP_PKTINFO
_MIXED = [*_IPV4, *_all(_IP, 1, 2, 8)]
# IPV6_UNICAST_HOPS, ..._MULTICAST_IF, _HOPS, _LOOP, _MTU_DISCOVER, _RECVERR, _MULTICAST_ALL,
# _ROUTER_ALERT_ISOLATE, _RECVERR_RFC4884, _FLOWINFO_SEND, _RECVHOPLIMIT, _RECVHOPOPTS, _RECVRTHDR,
# _RECVDSTOPTS, _RECVPATHMTU, _DONTFRAG, _RECVTCLASS, _TCLASS, _AUTOFLOWLABEL, _ADDR_PREFERENCES,
# _MINHOPCOUNT, _RECVORIGDSTADDR, _TRANSPARENT, _UNICAST_IF, _RECVFRAGSIZE
_IP6 = _all(
    *(_IPV6, 16, 17, 18, 19, 23, 25, 29, 30, 31, 33, 51, 53, 56, 58, 60, 62, 66, 67, 70, 72, 73, 74, 75, 76, 77)
)
# TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_THIN_LINEAR_TIMEOUTS, TCP_USER_TIMEOUT, TCP_FASTOPEN,
# TCP_NOTSENT_LOWAT, TCP_SAVE_SYN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE, TCP_INQ, TCP_TX_DELAY
_STREAM = [*_all(_TCP, 7, 8, 9, 16, 18, 23, 25, 27, 30, 34, 36, 37), Option(_TCP, socket.TCP_CONGESTION, _NAME)]
_UNCONNECTED = _all(_TCP, socket.TCP_MAXSEG, socket.TCP_WINDOW_CLAMP)
"""Of a connection, these tell what was agreed, which is in its own image."""
_DATAGRAM = _all(_UDP, 101, 102, 103, 104)  # UDP_NO_CHECK6_TX, ..._RX, UDP_SEGMENT, UDP_GRO
_LITE = _all(_UDPLITE, 10, 11)  # UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV
# NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK
_MESSAGES = _all(_NETLINK, 3, 4, 5, 10, 11, 12)
_PACKETS = _all(_PACKET, 20, 23)  # PACKET_QDISC_BYPASS, PACKET_IGNORE_OUTGOING
_NOT_STREAM = [*_all(_IP, 32, 33), *_all(_IPV6, 17, 18)]
"""Interface and TTL for multicast: a stream socket has values (an accepted one by its first packet), but takes none."""
_LAST = [Option(_SOL, SO_LOCK_FILTER)]


def options_of(sock: socket.socket, connected: bool) -> Iterator[Option]:
    """The options that may be kept for a socket of this kind, in the order in which they can be set."""
    yield from _GENERAL
    family, kind, protocol = int(sock.family), sock.type & 0xF, sock.proto
    if family == socket.AF_UNIX:
        yield Option(_SOL, SO_PEEK_OFF)
    elif family == socket.AF_NETLINK:
        yield from _MESSAGES
    elif family == socket.AF_PACKET:
        yield from _PACKETS
    elif family in (socket.AF_INET, socket.AF_INET6):
        options = _IPV4 if family == socket.AF_INET else [*_IP6, *_MIXED]
        yield from [option for option in options if kind != socket.SOCK_STREAM or option not in _NOT_STREAM]
        if kind == socket.SOCK_STREAM and protocol == _TCP:
            yield from _STREAM if connected else [*_STREAM, *_UNCONNECTED]
        elif kind == socket.SOCK_DGRAM:
            yield from {_UDP: _DATAGRAM, _UDPLITE: [*_DATAGRAM, *_LITE]}.get(protocol, [])
        elif kind == socket.SOCK_RAW and family == socket.AF_INET6:
            yield Option(_RAW6, 7)  # IPV6_CHECKSUM
    yield from _LAST


def extras_of(file_id: int, context: DumpContext) -> m.woodfrog_socket_entry:
    """What is known of a socket beyond the format, to be filled in."""
    from images import messages as m

    known = context.once(extras_of, dict[int, m.woodfrog_socket_entry])
    return known.setdefault(file_id, m.woodfrog_socket_entry(id=file_id))


def dump_extras(file: OpenFile, network: int, context: DumpContext, *, state: int = 0) -> None:
    """Note the options of a socket that nothing else keeps.  The caller is in its network namespace."""
    if sockets.has_unreadable_filter(file.local):
        context.refuse(f"{file} has an eBPF filter, which the kernel does not give back: detach it")
    with lent(file.local) as sock:
        family, kind, protocol = int(sock.family), int(sock.type), sock.proto
        plain = context.once(("plain socket", network, family, kind, protocol), lambda: _plain(family, kind, protocol))
        connected = state not in (0, LISTEN)
        for option, usual in plain.usual(connected):
            value = _get(sock, option)
            if value is not None and value != usual:
                extras_of(file.id, context).option.add(level=option.level, name=option.name, value=value)


@dataclass
class _Plain:
    """A new socket, and what the options are that it knows."""

    sock: socket.socket
    values: dict[bool, list[tuple[Option, bytes]]] = field(default_factory=dict)

    def usual(self, connected: bool) -> list[tuple[Option, bytes]]:
        if connected not in self.values:
            found = [(option, _get(self.sock, option)) for option in options_of(self.sock, connected)]
            self.values[connected] = [(option, value) for option, value in found if value is not None]
        return self.values[connected]


def _plain(family: int, kind: int, protocol: int) -> _Plain:
    try:
        return _Plain(socket.socket(family, kind, protocol))
    except PermissionError:  # ICMP sockets are for some groups only; UDP's are like them
        return _Plain(socket.socket(family, kind))


def _get(sock: socket.socket, option: Option) -> bytes | None:
    """The value; None where this kernel, or this kind of socket, does not know the option."""
    try:
        return sock.getsockopt(option.level, option.name, option.size)
    except OSError:
        return None


def write_extras(context: DumpContext) -> None:
    """woodfrog-sockets.img, once."""
    known = context.once(extras_of, dict[int, object])
    if known and not context.shared.get("extras are written"):
        context.shared["extras are written"] = True
        context.images.write("woodfrog-sockets", entries=known.values())  # type: ignore[arg-type]


def known_extras(file_id: int, context: RestoreContext) -> m.woodfrog_socket_entry | None:
    """What our own dumps say about a socket beyond the format."""

    def read() -> dict[int, m.woodfrog_socket_entry]:
        found = context.images.read("woodfrog-sockets") if context.images.exists("woodfrog-sockets") else []
        return {entry.id: entry for entry in found}

    return context.once("woodfrog-sockets", read).get(file_id)


def restore_extras(fd: int, file_id: int, context: RestoreContext) -> None:
    """Set the options again; one that cannot be set now is told."""
    entry = known_extras(file_id, context)
    if entry is None:
        return
    with lent(fd) as sock:
        for option in entry.option:
            try:
                sock.setsockopt(option.level, option.name, option.value)
            except OSError as error:
                if error.errno != errno.EALREADY:
                    log.warning(
                        f"option {option.name} of level {option.level} of socket {file_id:#x} is not set again: "
                        f"{os.strerror(error.errno or 0)}"
                    )
