"""The few messages of nf_tables that the network lock is made of.

linux/netfilter/nf_tables.h and nfnetlink.h.  Encoded here because a lock is made while a container stands
still: pyroute2's nftables takes 70 ms to import, this nothing.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

from netns import wire
from netns.wire import attr, message, nest, text
from values import dataclass

SUBSYSTEM = 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NEWTABLE, GETTABLE, DELTABLE, NEWCHAIN, NEWRULE = 0, 1, 2, 3, 6
INET = 1
TABLE_OWNER = 0x2
LOCAL_IN, LOCAL_OUT = 1, 3
PRIORITY = -300
"""Before connection tracking (-200), so that a dropped packet leaves no trace there."""
DROP, ACCEPT = 0, 1
MARK, NFPROTO, L4PROTO = 3, 15, 16
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
PASS_MARK = 0xC114
"""The mark of the engine's own packets (SO_MARK), as CRIU has it."""


def be32(kind: int, value: int) -> bytes:
    return attr(kind, struct.pack("!i" if value < 0 else "!I", value))


def nfgen(family: int = INET, resource: int = 0) -> bytes:
    """struct nfgenmsg {u8 family, version; be16 resource id}."""
    return struct.pack("!BBH", family, 0, resource)


@dataclass(frozen=True)
class Connection:
    """One TCP connection as this side sees it; addresses as text."""

    family: int
    local: str
    local_port: int
    remote: str
    remote_port: int


def _expression(name: str, *data: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *data))


def meta(key: int) -> bytes:
    """Load packet metadata into register 1."""
    return _expression("meta", be32(2, key), be32(1, 1))


def payload(base: int, offset: int, length: int) -> bytes:
    """Load bytes of a header into register 1."""
    return _expression("payload", be32(1, 1), be32(2, base), be32(3, offset), be32(4, length))


def equals(value: bytes) -> bytes:
    """Go on with the rule only if register 1 holds this."""
    return _expression("cmp", be32(1, 1), be32(2, 0), nest(3, attr(1, value)))


def verdict(code: int) -> bytes:
    """End the packet's way here."""
    return _expression("immediate", be32(1, 0), nest(2, nest(2, be32(1, code))))


def accept_marked() -> list[bytes]:
    return [meta(MARK), equals(struct.pack("=I", PASS_MARK)), verdict(ACCEPT)]


def drop_connection(connection: Connection, incoming: bool) -> list[bytes]:
    """Expressions that drop the packets of one connection in one direction."""
    here = (connection.local, connection.local_port)
    there = (connection.remote, connection.remote_port)
    source, target = (there, here) if incoming else (here, there)
    ipv6 = connection.family == socket.AF_INET6
    start, size = (8, 16) if ipv6 else (12, 4)
    addresses = [socket.inet_pton(connection.family, host) for host, _ in (source, target)]
    protocol = 10 if ipv6 else 2
    return [
        *(meta(NFPROTO), equals(bytes([protocol])), meta(L4PROTO), equals(bytes([socket.IPPROTO_TCP]))),
        *(payload(NETWORK_HEADER, start, 2 * size), equals(addresses[0] + addresses[1])) * (not ipv6),
        *(payload(NETWORK_HEADER, start, size), equals(addresses[0])) * ipv6,
        *(payload(NETWORK_HEADER, start + size, size), equals(addresses[1])) * ipv6,
        *(payload(TRANSPORT_HEADER, 0, 4), equals(struct.pack("!HH", source[1], target[1]))),
        verdict(DROP),
    ]


def table(name: str, flags: int) -> bytes:
    return nfgen() + text(1, name) + be32(2, flags)


def chain(in_table: str, name: str, hook: int, policy: int) -> bytes:
    """A base chain of type filter."""
    where = nest(4, be32(1, hook), be32(2, PRIORITY))
    return nfgen() + text(1, in_table) + text(3, name) + where + be32(5, policy) + text(7, "filter")


def rule(in_table: str, in_chain: str, expressions: Iterable[bytes]) -> bytes:
    return nfgen() + text(1, in_table) + text(2, in_chain) + nest(4, *expressions)


def lock_messages(name: str, owned: bool, connections: Iterable[Connection] | None) -> list[tuple[int, bytes]]:
    """(message, body) pairs of a lock: of a whole namespace (None), or of some connections.

    Marked packets pass first; then all others, or those of the connections, are dropped both ways.
    """
    policy = DROP if connections is None else ACCEPT
    known = list(connections or ())
    messages = [(NEWTABLE, table(name, TABLE_OWNER if owned else 0))]
    for label, hook in (("input", LOCAL_IN), ("output", LOCAL_OUT)):
        messages.append((NEWCHAIN, chain(name, label, hook, policy)))
        messages.append((NEWRULE, rule(name, label, accept_marked())))
        for connection in known:
            messages.append((NEWRULE, rule(name, label, drop_connection(connection, hook == LOCAL_IN))))
    return messages


def batch(messages: Iterable[tuple[int, bytes]], sequences: Iterator[int]) -> tuple[bytes, set[int]]:
    """One transaction: all or nothing.  The first message shares its number with the batch's own begin."""
    parts: list[bytes] = []
    numbers: set[int] = set()
    for kind, body in messages:
        number = next(sequences)
        if not parts:
            parts.append(message(BATCH_BEGIN, wire.REQUEST, nfgen(0, SUBSYSTEM), number))
        flags = wire.REQUEST | wire.ACK | (wire.CREATE if kind in (NEWTABLE, NEWCHAIN) else 0)
        flags |= wire.CREATE | wire.APPEND if kind == NEWRULE else 0
        parts.append(message(SUBSYSTEM << 8 | kind, flags, body, number))
        numbers.add(number)
    parts.append(message(BATCH_END, wire.REQUEST, nfgen(0, SUBSYSTEM), next(sequences)))
    return b"".join(parts), numbers
