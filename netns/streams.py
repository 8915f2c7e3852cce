"""The raw streams of `ip addr save`, `ip route save` and `ip rule save`, without the program ip.

A stream is a magic number (u32, native order) and then the messages of a netlink dump, as they came.  The
numbers are those of iproute2 (ip/ipaddress.c, iproute.c, iprule.c), checked against images that it wrote.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from netns.errors import NetnsError
from netns.wire import Message, Socket, attributes, split
from values import dataclass

RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE, RTM_NEWRULE, RTM_GETRULE = 20, 22, 24, 26, 32, 34
RTM_F_CLONED = 0x200
TABLE_LOCAL = 255
PROTOCOL_KERNEL = 2
RTA_TABLE = 15
TABLE_MAIN = 254
FRA_PRIORITY, FRA_TABLE = 6, 15
FRA_DEFAULTS = (14, 21)
"""FRA_SUPPRESS_PREFIXLEN and FRA_PROTOCOL are in every rule that the kernel shows."""


@dataclass(frozen=True)
class Stream:
    """One kind of stream: its magic, the message type in it, and the length of that message's fixed part."""

    what: str
    magic: int
    type: int
    fixed: int


ADDRESSES = Stream("addresses", 0x47361222, RTM_NEWADDR, 8)
ROUTES = Stream("routes", 0x45311224, RTM_NEWROUTE, 12)
RULES = Stream("rules", 0x71706986, RTM_NEWRULE, 12)


def join(kind: Stream, messages: Iterable[Message]) -> bytes:
    """Make a stream of messages."""
    return struct.pack("=I", kind.magic) + b"".join(m.raw for m in messages)


def parse(kind: Stream, data: bytes) -> list[Message]:
    """The messages of a stream; none for an empty one.

    Raises NetnsError for another magic, another type of message, or lengths that do not fit.
    """
    if not data:
        return []
    if len(data) < 4 or struct.unpack_from("=I", data)[0] != kind.magic:
        raise NetnsError(f"saved {kind.what} do not begin with their magic {kind.magic:#x}; the image is damaged")
    try:
        messages = list(split(data[4:]))
        for message in messages:
            list(attributes(message.body[kind.fixed :]))
    except ValueError as err:
        raise NetnsError(f"saved {kind.what} are damaged: {err}") from err
    if bad := [m.type for m in messages if m.type != kind.type or len(m.body) < kind.fixed]:
        raise NetnsError(f"saved {kind.what} hold a netlink message of type {bad[0]} or too short")
    return messages


def dump_addresses(sock: Socket, family: int = socket.AF_UNSPEC) -> bytes:
    """All addresses of a family, as `ip addr save`."""
    body = struct.pack("=BBBBi", family, 0, 0, 0, 0)
    return join(ADDRESSES, sock.dump(RTM_GETADDR, body, "list addresses"))


def dump_routes(sock: Socket, family: int) -> bytes:
    """All routes of a family but those that the kernel makes by itself in the table local.

    `ip route save` stops at the table main; other tables are needed by policy rules, so they are kept too.
    """
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
    found = sock.dump(RTM_GETROUTE, body, "list routes")
    return join(ROUTES, (m for m in found if m.type == RTM_NEWROUTE and is_own_route(m, family)))


def is_own_route(message: Message, family: int) -> bool:
    """False for cached routes, for the kernel's own in table local, and for other families.

    With no route of this family, the kernel may answer with those of all families.
    """
    got, _, _, _, table, protocol, _, _, flags = struct.unpack_from("=BBBBBBBBI", message.body)
    for kind, payload in attributes(message.body[12:]):
        if kind == RTA_TABLE:
            table = struct.unpack("=I", payload)[0]
    return got == family and not flags & RTM_F_CLONED and not (table == TABLE_LOCAL and protocol == PROTOCOL_KERNEL)


def dump_rules(sock: Socket) -> bytes:
    """The policy rules of IPv4, and those of IPv6 if they are not the ones that every namespace begins with.

    `ip rule save` writes IPv4 only; so does this where nothing is lost by it.
    """
    ipv6 = rules_of(sock, socket.AF_INET6)
    if [_place(m) for m in ipv6] == [(0, TABLE_LOCAL), (32766, TABLE_MAIN)]:
        ipv6 = []
    return join(RULES, rules_of(sock, socket.AF_INET) + ipv6)


def rules_of(sock: Socket, family: int) -> list[Message]:
    """The policy rules of one family."""
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
    return sock.dump(RTM_GETRULE, body, "list policy rules")


def _place(message: Message) -> tuple[int, int]:
    """(priority, table) of a rule for everything; (-1, -1) for one that looks at something."""
    found = dict(attributes(message.body[12:]))
    if set(found) - {FRA_PRIORITY, FRA_TABLE, *FRA_DEFAULTS}:
        return -1, -1
    priority = struct.unpack("=I", found[FRA_PRIORITY])[0] if FRA_PRIORITY in found else 0
    return priority, struct.unpack("=I", found[FRA_TABLE])[0] if FRA_TABLE in found else message.body[4]
