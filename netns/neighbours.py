"""Permanent neighbours: entries that somebody made by hand; learnt ones come back by themselves."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from netns import wire
from netns.model import Neighbour
from netns.typed import neighbour
from netns.wire import Socket, attr

RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
NUD_PERMANENT = 0x80
NTF_PROXY = 0x08
NDA_DST, NDA_LLADDR = 1, 2
RTN_UNICAST = 1


def dump(sock: Socket) -> tuple[Neighbour, ...]:
    """The permanent entries of IPv4 and IPv6."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        body = struct.pack("=BBHiHBB", family, 0, 0, 0, 0, 0, 0)
        for message in sock.dump(RTM_GETNEIGH, body, "list neighbours"):
            # ndmsg {u8 family; u8, u16 pad; s32 ifindex; u16 state; u8 flags; u8 type}
            state, _, kind = struct.unpack_from("=HBB", message.body, 8)
            if state & NUD_PERMANENT and kind == RTN_UNICAST:
                found.append(neighbour(message))
    return tuple(found)


def restore(sock: Socket, entries: Iterable[Neighbour], indexes: dict[int, int]) -> None:
    """Add the entries again.  Raises NetnsError that names the address."""
    for entry in entries:
        index = indexes.get(entry.index, entry.index)
        body = struct.pack("=BBHiHBB", entry.family, 0, 0, index, NUD_PERMANENT, entry.flags, RTN_UNICAST)
        body += attr(NDA_DST, socket.inet_pton(entry.family, entry.address))
        body += attr(NDA_LLADDR, entry.link_address) if entry.link_address else b""
        sock.request(RTM_NEWNEIGH, wire.CREATE | wire.REPLACE, body, f"add neighbour {entry.address}")
