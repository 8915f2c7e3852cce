"""Playing saved addresses, routes and rules back into a namespace."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Mapping

from netns import wire
from netns.errors import NetnsError, from_errno
from netns.streams import ADDRESSES, ROUTES, RULES, parse, rules_of
from netns.wire import Socket, attr, attributes

RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWRULE, RTM_DELRULE = 20, 24, 32, 33
IFA_FLAGS, IFA_F_NODAD, IFA_F_TENTATIVE, IFA_KEPT = 8, 0x02, 0x40, 0x712
"""IFA_KEPT: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN; the kernel sets the others."""
RTA_OIF, RTA_IIF, RTA_MULTIPATH, RTA_CACHEINFO, RTA_NH_ID, RTNH_F_ONLINK = 4, 3, 9, 12, 30, 4
UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.ENETDOWN)
Indexes = Mapping[int, int]
"""Saved interface index to the one that it has now; those that are missing stayed as they were."""


def restore_addresses(sock: Socket, data: bytes, indexes: Indexes | None = None) -> None:
    """Add the addresses of a stream; those that are there already are fine.  Raises NetnsError."""
    for message in parse(ADDRESSES, data):
        body = address_body(message.body, indexes or {})
        index = struct.unpack_from("=I", body, 4)[0]
        what = f"add address {_show(message.body, 8, (2, 1))} to the link of index {index}"
        there = sock.request(RTM_NEWADDR, wire.CREATE | wire.EXCL, body, what, fine=(errno.EEXIST,))
        plain = address_body(message.body, indexes or {}, skip_detection=False)
        if not there and plain != body:  # it has been added without detection: the flag has done its work
            sock.request(RTM_NEWADDR, wire.REPLACE, plain, what)


def address_body(body: bytes, indexes: Indexes, skip_detection: bool = True) -> bytes:
    """An address as it is to be added: index as of now, no flags that report a state.

    IPv6 addresses go without duplicate address detection, sockets must bind at once; but those for which it was
    under way when they were saved go through it again.
    """
    family, prefix, flags, scope, index = struct.unpack_from("=BBBBI", body)
    found = dict(attributes(body[8:]))
    if IFA_FLAGS in found:
        flags = struct.unpack("=I", found[IFA_FLAGS])[0]
    skip = skip_detection and family == socket.AF_INET6 and not flags & IFA_F_TENTATIVE
    flags = flags & IFA_KEPT | (IFA_F_NODAD if skip else 0)
    found[IFA_FLAGS] = struct.pack("=I", flags)
    head = struct.pack("=BBBBI", family, prefix, flags & 0xFF, scope, indexes.get(index, index))
    return head + b"".join(attr(kind, payload) for kind, payload in found.items())


def restore_routes(sock: Socket, data: bytes, indexes: Indexes | None = None) -> None:
    """Add the routes of a stream, in whatever order their gateways allow.

    A route can be added once its gateway can be reached, so those that fail for that are tried again as long
    as others succeed.  Raises NetnsError with the first that is left.
    """
    waiting = [route_body(m.body, indexes or {}) for m in parse(ROUTES, data)]
    while waiting:
        left = [(body, code) for body in waiting if (code := _add_route(sock, body)) in UNREACHABLE]
        if len(left) == len(waiting):
            body, code = left[0]
            raise from_errno(f"add route to {_show(body, 12, (1,)) or 'default'}", code, "is its link up?")
        waiting = [body for body, _ in left]


def _add_route(sock: Socket, body: bytes) -> int:
    fine = (errno.EEXIST, *UNREACHABLE)
    what = f"add route to {_show(body, 12, (1,)) or 'default'}"
    return sock.request(RTM_NEWROUTE, wire.CREATE | wire.EXCL, body, what, fine)


def route_body(body: bytes, indexes: Indexes) -> bytes:
    """A route as it is to be added: indexes as of now, nothing that reports a state.

    A nexthop object's id is left out: the dump holds what it stands for too.
    """
    head = bytearray(body[:12])
    flags = struct.unpack_from("=I", head, 8)[0]
    struct.pack_into("=I", head, 8, flags & RTNH_F_ONLINK)
    kept = []
    for kind, payload in attributes(body[12:]):
        if kind in (RTA_OIF, RTA_IIF):
            old = struct.unpack("=I", payload)[0]
            kept.append(attr(kind, struct.pack("=I", indexes.get(old, old))))
        elif kind == RTA_MULTIPATH:
            kept.append(attr(kind, _multipath(payload, indexes)))
        elif kind not in (RTA_CACHEINFO, RTA_NH_ID):
            kept.append(attr(kind, payload))
    return bytes(head) + b"".join(kept)


def _multipath(data: bytes, indexes: Indexes) -> bytes:
    """struct rtnexthop {u16 len; u8 flags; u8 hops; s32 ifindex} and attributes, one after another."""
    result, at = b"", 0
    while at + 8 <= len(data):
        length, flags, hops, index = struct.unpack_from("=HBBi", data, at)
        if length < 8:
            raise NetnsError("a saved multipath route is damaged: a nexthop is shorter than its header")
        rest = data[at + 8 : at + length]
        result += struct.pack("=HBBi", length, flags & RTNH_F_ONLINK, hops, indexes.get(index, index)) + rest
        result += b"\0" * (-len(result) % 4)
        at += length + (-length % 4)
    return result


def restore_rules(sock: Socket, data: bytes) -> None:
    """Make the policy rules those of a stream: add what is missing, remove what it lacks.

    A family without any rule in the stream was not saved, and is left alone.  Raises NetnsError.
    """
    wanted = {m.body for m in parse(RULES, data)}
    there = {m.body for family in {body[0] for body in wanted} for m in rules_of(sock, family)}
    # first add, so that there is no instant without a rule for the table main
    for body in sorted(wanted - there):
        sock.request(RTM_NEWRULE, wire.CREATE | wire.EXCL, body, f"add policy rule {_priority(body)}", (errno.EEXIST,))
    for body in sorted(there - wanted):
        sock.request(RTM_DELRULE, 0, body, f"remove policy rule {_priority(body)}", (errno.ENOENT,))


def _priority(body: bytes) -> int:
    found = dict(attributes(body[12:]))
    return int(struct.unpack("=I", found[6])[0]) if 6 in found else 0


def _show(body: bytes, fixed: int, kinds: Iterable[int]) -> str:
    """The first of these attributes as an address, with the prefix length from the fixed part."""
    found = dict(attributes(body[fixed:]))
    convert: Callable[[bytes], str] = lambda raw: socket.inet_ntop(body[0], raw)  # noqa: E731
    for kind in kinds:
        if kind in found and len(found[kind]) in (4, 16):
            return f"{convert(found[kind])}/{body[1]}"
    return ""
