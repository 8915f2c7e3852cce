"""A tree restored under other addresses, ports and another host name: --remap-ip, --remap-port, --hostname.

Sockets are changed as they are read, addresses and routes with their network namespace (netns.remap).
A TCP connection goes along if its other end is in the same images; a peer outside cannot be told.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.kernel.sockets import CLOSE, LISTEN
from cr.model import CheckpointError, Refused
from cr.values import dataclass, field

if TYPE_CHECKING:
    import ipaddress

    from cr.contract.restoring import RestoreContext
    from cr.options import Options
    from images import messages as m

_MAPPED = bytes(10) + b"\xff\xff"
End = tuple[bytes, int]


@dataclass(frozen=True)
class Identity:
    """Networks and ports, old to new; a single address is a network of one."""

    networks: tuple[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int], ...] = ()
    """old network, and the first address of the new one as a number"""
    ports: dict[int, int] = field(default_factory=dict)

    def address(self, packed: bytes) -> bytes:
        """Where an address is now: 4 or 16 bytes; IPv4 inside of IPv6 goes as IPv4."""
        if packed.startswith(_MAPPED) and len(packed) == 16:
            return _MAPPED + self.address(packed[12:])
        number, bits = int.from_bytes(packed, "big"), 8 * len(packed)
        for old, new in self.networks:
            if old.max_prefixlen == bits and int(old.netmask) & number == int(old.network_address):
                return (new | number & int(old.hostmask)).to_bytes(len(packed), "big")
        return packed

    def end(self, end: End) -> End:
        return self.address(end[0]), self.ports.get(end[1], end[1])


def identity(options: Options) -> Identity | None:
    """What the options say; None where nothing changes.  CheckpointError for a word that makes no sense."""
    if not options.remap_ip and not options.remap_port:
        return None
    return Identity(tuple(map(_networks, options.remap_ip)), dict(map(_ports, options.remap_port)))


def _networks(word: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int]:
    import ipaddress

    left, _, right = word.partition("=")
    try:
        old, new = ipaddress.ip_network(left), ipaddress.ip_network(right)
    except ValueError as error:
        raise CheckpointError(
            f"--remap-ip {word}: write it as OLD=NEW, two addresses or two networks (10.0.0.0/24=10.1.0.0/24): {error}"
        ) from error
    if (old.version, old.prefixlen) != (new.version, new.prefixlen):
        raise CheckpointError(f"--remap-ip {word}: both sides must be of one family, with prefixes of one length")
    return old, int(new.network_address)


def _ports(word: str) -> tuple[int, int]:
    old, _, new = word.partition("=")
    if not (old.isdigit() and new.isdigit() and 0 < int(old) < 1 << 16 and 0 < int(new) < 1 << 16):
        raise CheckpointError(f"--remap-port {word}: write it as OLD=NEW, two numbers from 1 to 65535")
    return int(old), int(new)


def check_hostname(context: RestoreContext) -> None:
    """--hostname needs a UTS namespace of the tasks' own."""
    ids, host = context.root.ids, context.inventory.root_ids if context.inventory is not None else None
    if context.options.hostname and ids is not None and host is not None and ids.uts_ns_id == host.uts_ns_id:
        raise CheckpointError(
            "--hostname: the tasks share the host's name (no UTS namespace of their own), which a restore leaves alone"
        )


def take_over(context: RestoreContext) -> None:
    """Change the sockets that were read.  Refused where peers cannot follow, with all of them."""
    new = identity(context.options)
    if new is None:
        return
    entries = [entry.isk for entry in context.file_entries.values() if entry.HasField("isk")]
    inside = {_ends(entry) for entry in entries if _is_connection(entry)}
    lost = list(_lost(entries, inside, new, context))
    if lost:
        raise Refused(lost)
    for entry in entries:
        here, there = _ends(entry)
        known = entry.proto != socket.IPPROTO_TCP or (there, here) in inside
        _set(entry, "src", new.end(here))
        if known or entry.state == CLOSE:
            there = new.end(there) if (there, here) in inside else (new.address(there[0]), there[1])
            _set(entry, "dst", there)


def _lost(
    entries: list[m.inet_sk_entry], inside: set[tuple[End, End]], new: Identity, context: RestoreContext
) -> Iterator[str]:
    if context.options.tcp_close:
        return
    for entry in entries:
        here, there = _ends(entry)
        if not _is_connection(entry) or (there, here) in inside or new.end(here) == here:
            continue
        yield (
            f"the TCP connection from {_show(here)} to {_show(there)} cannot follow to {_show(new.end(here))}: its "
            "peer outside knows the old address only; use --tcp-close to drop it, or leave that address as it is"
        )


def _is_connection(entry: m.inet_sk_entry) -> bool:
    is_tcp = entry.type == socket.SOCK_STREAM and entry.proto == socket.IPPROTO_TCP
    return is_tcp and entry.state not in (LISTEN, CLOSE) and entry.dst_port != 0


def _ends(entry: m.inet_sk_entry) -> tuple[End, End]:
    return _end(entry, "src"), _end(entry, "dst")


def _end(entry: m.inet_sk_entry, side: str) -> End:
    """Packed address and port; what an IPv6 socket says in IPv4 is IPv4."""
    words = getattr(entry, f"{side}_addr")
    packed = struct.pack(f"<{len(words)}I", *words)
    return packed[12:] if packed.startswith(_MAPPED) and len(packed) == 16 else packed, getattr(entry, f"{side}_port")


def _set(entry: m.inet_sk_entry, side: str, end: End) -> None:
    packed, port = end
    words = getattr(entry, f"{side}_addr")
    if len(packed) == 4 and len(words) == 4:
        packed = _MAPPED + packed
    del words[:]
    words.extend(word for (word,) in struct.iter_unpack("<I", packed))
    setattr(entry, f"{side}_port", port)


def _show(end: End) -> str:
    return f"{socket.inet_ntop(socket.AF_INET if len(end[0]) == 4 else socket.AF_INET6, end[0])} port {end[1]}"
