"""A saved namespace taken over to other addresses: links' addresses, routes, rules, neighbours, rule sets.

A mapping takes a packed address of 4 or 16 bytes to another one.  Where a link gets an address in another
network, what belonged to the old network (its own route, its broadcast address) goes to the new one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Iterable

from netns import wire
from netns.errors import NetnsError
from netns.model import Firewall, NetworkState
from netns.streams import ADDRESSES, ROUTES, RULES, Stream, parse
from netns.wire import attr, attributes
from values import dataclass, replace

Move = Callable[[bytes], bytes]
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_ANYCAST = 1, 2, 4, 5
RTA_DST, RTA_SRC, RTA_GATEWAY, RTA_PREFSRC, RTA_MULTIPATH, RTA_VIA = 1, 2, 5, 7, 9, 18
FRA_DST, FRA_SRC = 1, 2
_WORD = re.compile(r"[0-9a-fA-F:.]*[.:][0-9a-fA-F:.]+")


@dataclass(frozen=True)
class Net:
    """A network: packed base address and the length of its prefix."""

    base: bytes
    prefix: int

    @classmethod
    def around(cls, address: bytes, prefix: int) -> Net:
        whole = ipaddress.ip_network((address, prefix), strict=False)
        return cls(whole.network_address.packed, prefix)

    def last(self) -> bytes:
        return ipaddress.ip_network((self.base, self.prefix)).broadcast_address.packed

    def __contains__(self, address: bytes) -> bool:
        return len(address) == len(self.base) and Net.around(address, self.prefix) == self


def remap(state: NetworkState, move: Move) -> NetworkState:
    """The namespace with its addresses moved.  Raises NetnsError for a route whose gateway would be out of reach."""
    moved: dict[Net, Net] = {}
    addresses = _stream(ADDRESSES, state.addresses, lambda body: _address(body, move, moved))
    reach = [Net.around(_local(m.body), m.body[1]) for m in parse(ADDRESSES, addresses)]
    whole, rules = _Routes(move, moved, reach), state.firewall
    return replace(
        state,
        addresses=addresses,
        routes4=_stream(ROUTES, state.routes4, whole.route),
        routes6=_stream(ROUTES, state.routes6, whole.route),
        rules=_stream(RULES, state.rules, lambda body: _rule(body, move, moved)),
        neighbours=tuple(replace(each, address=in_text(each.address, move)) for each in state.neighbours),
        firewall=Firewall(
            *(text and in_text(text, move) for text in (rules.nftables, rules.iptables, rules.ip6tables))
        ),
        conntrack=b"",  # what is tracked under old addresses would only be in the way
        expectations=b"",
    )


def in_text(text: str, move: Move) -> str:
    """A text in which every word that is an address is moved."""

    def one(match: re.Match[str]) -> str:
        try:
            packed = ipaddress.ip_address(match[0]).packed
        except ValueError:
            return match[0]
        new = move(packed)
        return match[0] if new == packed else str(ipaddress.ip_address(new))

    return _WORD.sub(one, text)


def _stream(kind: Stream, data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    if not data:
        return data
    messages = (wire.message(m.type, m.flags, change(m.body), m.sequence) for m in parse(kind, data))
    return struct.pack("=I", kind.magic) + b"".join(messages)


def _local(body: bytes) -> bytes:
    found = dict(attributes(body[8:]))
    return found.get(IFA_LOCAL) or found.get(IFA_ADDRESS, b"")


def _address(body: bytes, move: Move, moved: dict[Net, Net]) -> bytes:
    """One address; where its network changes, that is noted."""
    prefix, old = body[1], _local(body)
    new = move(old)
    before, after = Net.around(old, prefix), Net.around(new, prefix)
    if before != after:
        moved[before] = after
    attrs = []
    for kind, payload in attributes(body[8:]):
        if kind in (IFA_ADDRESS, IFA_LOCAL, IFA_ANYCAST):
            payload = move(payload)
        elif kind == IFA_BROADCAST:
            payload = after.last() if payload == before.last() else move(payload)
        attrs.append(attr(kind, payload))
    return body[:8] + b"".join(attrs)


def _moved_net(base: bytes, prefix: int, move: Move, moved: dict[Net, Net]) -> bytes:
    return moved[net].base if (net := Net(base, prefix)) in moved else move(base)


def _rule(body: bytes, move: Move, moved: dict[Net, Net]) -> bytes:
    lengths = {FRA_DST: body[1], FRA_SRC: body[2]}
    attrs = (
        attr(kind, _moved_net(payload, lengths[kind], move, moved) if kind in lengths else payload)
        for kind, payload in attributes(body[12:])
    )
    return body[:12] + b"".join(attrs)


@dataclass
class _Routes:
    """How routes are moved; `reach` are the networks that the links are in afterwards."""

    move: Move
    moved: dict[Net, Net]
    reach: Iterable[Net]

    def route(self, body: bytes) -> bytes:
        lengths = {RTA_DST: body[1], RTA_SRC: body[2]}
        return body[:12] + b"".join(
            attr(kind, self._attribute(kind, payload, lengths)) for kind, payload in attributes(body[12:])
        )

    def _attribute(self, kind: int, payload: bytes, lengths: dict[int, int]) -> bytes:
        if kind in lengths:
            return _moved_net(payload, lengths[kind], self.move, self.moved)
        if kind == RTA_GATEWAY:
            return self._gateway(payload)
        if kind == RTA_PREFSRC:
            return self.move(payload)
        if kind == RTA_VIA:
            return payload[:2] + self._gateway(payload[2:])
        return self._hops(payload) if kind == RTA_MULTIPATH else payload

    def _gateway(self, old: bytes) -> bytes:
        new = self.move(old)
        if new == old and any(old in net for net in self.moved) and not any(old in net for net in self.reach):
            family = socket.AF_INET if len(old) == 4 else socket.AF_INET6
            shown = socket.inet_ntop(family, old)
            raise NetnsError(
                f"a route goes by the gateway {shown}, which is in none of the networks of the new addresses: "
                f"say which gateway takes its place with --remap-ip {shown}=NEW, or map the whole network"
            )
        return new

    def _hops(self, data: bytes) -> bytes:
        """struct rtnexthop {u16 length; u8 flags, hops; s32 interface} with attributes, one after another."""
        result, at = b"", 0
        while at + 8 <= len(data):
            length = struct.unpack_from("=H", data, at)[0]
            if length < 8:
                raise NetnsError("a saved multipath route is damaged: a nexthop is shorter than its header")
            inner = attributes(data[at + 8 : at + length])
            result += data[at : at + 8] + b"".join(attr(k, self._attribute(k, p, {})) for k, p in inner)
            at += length + (-length % 4)
        return result
