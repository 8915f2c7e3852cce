"""Connection tracking entries and expectations, as raw messages of ctnetlink.

linux/netfilter/nfnetlink_conntrack.h.  The images hold the messages one after another, without a magic.
"""

from __future__ import annotations

import errno
from pathlib import Path

from netns import nft, wire
from netns.enter import run_in
from netns.errors import NetnsError
from netns.wire import Message, Socket, attr, attributes, split

CONNTRACK, EXPECT = 1, 2
NEW, GET = 0, 1
COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"
CTA_STATUS, CTA_USE, CTA_ID, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_TIMESTAMP, CTA_SECCTX = (
    3,
    11,
    12,
    9,
    10,
    20,
    19,
)
REPORTED = frozenset({CTA_USE, CTA_ID, CTA_COUNTERS_ORIG, CTA_COUNTERS_REPLY, CTA_TIMESTAMP, CTA_SECCTX})
"""Attributes of a dump that cannot be set."""
EXPECT_REPORTED = frozenset({5})
"""CTA_EXPECT_ID."""


def in_use(netns_fd: int | None) -> bool:
    """Whether the namespace tracks any connection (asking the kernel itself would load the module)."""

    def count() -> bool:
        path = Path(COUNT)
        return path.exists() and int(path.read_text()) > 0

    return run_in(netns_fd, count)


def dump(netns_fd: int | None) -> tuple[bytes, bytes]:
    """(entries, expectations); both empty where nothing is tracked."""
    if not in_use(netns_fd):
        return b"", b""
    with run_in(netns_fd, lambda: Socket(wire.NETFILTER)) as sock:
        entries = sock.dump(CONNTRACK << 8 | GET, nft.nfgen(0), "list tracked connections")
        expected = sock.dump(EXPECT << 8 | GET, nft.nfgen(0), "list expected connections")
    return b"".join(m.raw for m in entries), b"".join(m.raw for m in expected)


def parse(data: bytes, subsystem: int) -> list[Message]:
    """The messages of an image.  Raises NetnsError for damaged ones."""
    try:
        found = list(split(data))
        for message in found:
            list(attributes(message.body[4:]))
    except ValueError as err:
        raise NetnsError(f"saved connection tracking is damaged: {err}") from err
    if bad := [m.type for m in found if m.type >> 8 != subsystem or len(m.body) < 4]:
        raise NetnsError(f"saved connection tracking holds a netlink message of type {bad[0]:#x}")
    return found


def body_of(message: Message, reported: frozenset[int]) -> bytes:
    """A message as it is to be sent: without what only reports."""
    kept = ((kind, payload) for kind, payload in _with_flags(message.body[4:]) if kind & 0x3FFF not in reported)
    return message.body[:4] + b"".join(attr(kind, payload) for kind, payload in kept)


def _with_flags(data: bytes) -> list[tuple[int, bytes]]:
    """Attributes with their flag bits (NLA_F_NESTED must go back as it came)."""
    found, at = [], 0
    for _, payload in attributes(data):
        found.append((int.from_bytes(data[at + 2 : at + 4], "little"), payload))
        at += 4 + len(payload) + (-len(payload) % 4)
    return found


def restore(netns_fd: int | None, entries: bytes, expected: bytes) -> None:
    """Add entries, then expectations; those that are there already are fine.  Raises NetnsError."""
    if not entries and not expected:
        return
    with run_in(netns_fd, lambda: Socket(wire.NETFILTER)) as sock:
        for data, subsystem, reported in (
            (entries, CONNTRACK, REPORTED),
            (expected, EXPECT, EXPECT_REPORTED),
        ):
            for message in parse(data, subsystem):
                body = body_of(message, reported)
                what = "restore a tracked connection"
                sock.request(subsystem << 8 | NEW, wire.CREATE | wire.EXCL, body, what, (errno.EEXIST,))
