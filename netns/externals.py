"""What a caller says about links that reach out: --external veth[…], macvlan[…], --veth-pair."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from netns.errors import NetnsError
from values import dataclass, field

_EXTERNAL = re.compile(r"(veth|macvlan)\[([^\]]+)\]:([^@]*)(?:@(.*))?")


@dataclass(frozen=True)
class Outer:
    """The outer end of a link: its name ("": the kernel's choice) and the bridge it is put into, if any."""

    name: str
    bridge: str = ""


@dataclass(frozen=True)
class Externals:
    """Outer ends by inner name.

    `outer_fd` is the namespace where outer ends live (None: the caller's).  `peers` are namespaces that are
    restored together with this one, by the id they had here: {nsid: descriptor}.

    Where they are restored one after another: `later` are the ids of those that come after this one, whose ends of
    pairs are parked here; `parked` are ends for this one, by (id of the namespace they are in, index that the end
    there has): (descriptor of that namespace, name of the parked end).
    """

    veth: Mapping[str, Outer] = field(default_factory=dict)
    macvlan: Mapping[str, str] = field(default_factory=dict)
    outer_fd: int | None = None
    peers: Mapping[int, int] = field(default_factory=dict)
    later: frozenset[int] = frozenset()
    parked: Mapping[tuple[int, int], tuple[int, str]] = field(default_factory=dict)


def check_name(name: str, where: str) -> str:
    """A name that the kernel takes for a link (1 to 15 bytes, no slash, colon, blank).  Raises NetnsError."""
    bad = not 0 < len(name.encode()) < 16 or name in (".", "..") or re.search(r"[/:\s]", name)
    if bad:
        raise NetnsError(f"{where}: {name!r} cannot be the name of a network link (1 to 15 bytes, no '/', ':', blanks)")
    return name


def parse(external: Iterable[str], veth_pairs: Iterable[str] = (), outer_fd: int | None = None) -> Externals:
    """Read --external "veth[IN]:OUT[@BRIDGE]", "macvlan[IN]:OUT", and --veth-pair "IN=OUT[@BRIDGE]".

    Values of other types are left alone.  Raises NetnsError for a bad one.
    """
    veth: dict[str, Outer] = {}
    macvlan: dict[str, str] = {}
    for value in external:
        if not value.startswith(("veth[", "macvlan[")):
            continue
        found = _EXTERNAL.fullmatch(value)
        if found is None:
            raise NetnsError(f"--external {value} must be veth[inner]:outer[@bridge] or macvlan[inner]:outer")
        kind, inner, outer, bridge = found.groups(default="")
        check_name(inner, f"--external {value}")
        if kind == "macvlan":
            macvlan[inner] = check_name(outer, f"--external {value}")
        else:
            veth[inner] = _outer(outer, bridge, f"--external {value}")
    for value in veth_pairs:
        inner, equals, rest = value.partition("=")
        if not equals:
            raise NetnsError(f"--veth-pair {value} must be inner=outer")
        outer, _, bridge = rest.partition("@")
        veth[check_name(inner, f"--veth-pair {value}")] = _outer(outer, bridge, f"--veth-pair {value}")
    return Externals(veth, macvlan, outer_fd)


def _outer(name: str, bridge: str, where: str) -> Outer:
    return Outer(check_name(name, where) if name else "", check_name(bridge, where) if bridge else "")
