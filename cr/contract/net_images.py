"""Network namespaces between package netns and the images: links and settings as messages, all else raw."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cr.kernel.patterns import pattern
from netns import devconf
from netns.firewall import does_nothing, has_rules
from netns.model import Link, MacvlanData, Sysctls, TunData

if TYPE_CHECKING:
    from cr.contract.idmaps import IdMap
    from images import messages as m

KINDS = {"loopback": 1, "veth": 2, "tun": 3, "bridge": 6, "macvlan": 7}
"""Kind of a link -> nd_type."""
EXTERNAL_LINK = 4
NAMES = {number: kind for kind, number in KINDS.items()} | {EXTERNAL_LINK: "external"}
IFF_PERSIST = 0x800
DEFAULT_HEADER, DEFAULT_BUFFER = 10, 0x7FFFFFFF
"""What a tun has where nobody set a size."""
OUTSIDE = -1
"""Stands for the namespace of a peer that is not in the images."""

Settings = Mapping[str, str]


def link_message(
    link: Link, ns_id: int, known: Mapping[int, int], sysctls: Sysctls, ids: tuple[IdMap, IdMap]
) -> m.net_device_entry:
    """One device.  `known`: ids of namespaces in the images by the number that they have in this one."""
    from images import messages as m

    kind = KINDS.get(link.kind, EXTERNAL_LINK)
    entry = m.net_device_entry(
        type=m.nd_type.Name(kind), ifindex=link.index, mtu=link.mtu, flags=link.flags, name=link.name
    )
    if any(link.address):
        entry.address = link.address
    if link.master:
        entry.master = link.master
    entry.peer_ifindex = link.peer_index or link.index
    peer = ns_id if link.peer_nsid is None else known.get(link.peer_nsid)
    if peer is not None:
        entry.peer_nsid = peer
    _set_kind(entry, link, ids)
    entry.conf4.extend(_settings(devconf.CONF4, sysctls.conf4.get(link.name, {})))
    entry.conf6.extend(_settings(devconf.CONF6, sysctls.conf6.get(link.name, {})))
    return entry


def _set_kind(entry: m.net_device_entry, link: Link, ids: tuple[IdMap, IdMap]) -> None:
    if link.tun is not None:
        tun, (uids, gids) = link.tun, ids
        entry.tun.flags = tun.flags | (IFF_PERSIST if tun.persistent else 0)
        entry.tun.owner = tun.owner if tun.owner < 0 else uids.inside(tun.owner)
        entry.tun.group = tun.group if tun.group < 0 else gids.inside(tun.group)
        entry.tun.vnethdr, entry.tun.sndbuf = tun.vnethdr or DEFAULT_HEADER, tun.sndbuf or DEFAULT_BUFFER
    if link.macvlan is not None:
        entry.macvlan.mode, entry.macvlan.flags = link.macvlan.mode, link.macvlan.flags


def _settings(order: Iterable[str], values: Settings) -> list[m.sysctl_entry]:
    from images import messages as m

    found = []
    names = list(order)
    for name, value in zip(names, devconf.to_places(names, values), strict=True):
        if name in devconf.TEXTS:
            found.append(m.sysctl_entry(type=m.SysctlType.CTL_STR, sarg=value))
        else:
            number = None if value is None else _signed(int(value))
            found.append(m.sysctl_entry(type=m.SysctlType.CTL_32, iarg=number))
    return found


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number


def settings_message(sysctls: Sysctls) -> m.netns_entry:
    """The settings of the namespace itself."""
    from images import messages as m

    return m.netns_entry(
        def_conf4=_settings(devconf.CONF4, sysctls.conf4.get("default", {})),
        all_conf4=_settings(devconf.CONF4, sysctls.conf4.get("all", {})),
        def_conf6=_settings(devconf.CONF6, sysctls.conf6.get("default", {})),
        all_conf6=_settings(devconf.CONF6, sysctls.conf6.get("all", {})),
        unix_conf=_settings(devconf.UNIX, sysctls.unix),
        ipv4_sysctl=_settings(devconf.IPV4, sysctls.ipv4),
    )


def link_of(entry: m.net_device_entry, ns_id: int, ids: tuple[IdMap, IdMap]) -> Link:
    """A device of the images; OUTSIDE where its peer's namespace is not known."""
    peer_nsid: int | None = OUTSIDE
    if entry.HasField("peer_nsid"):
        peer_nsid = None if entry.peer_nsid == ns_id else entry.peer_nsid
    return Link(
        kind=NAMES.get(entry.type, f"of type {entry.type}"),
        name=entry.name,
        index=entry.ifindex,
        mtu=entry.mtu,
        flags=entry.flags,
        address=entry.address,
        master=entry.master,
        peer_index=entry.peer_ifindex,
        peer_nsid=peer_nsid,
        tun=_tun_of(entry.tun, ids) if entry.HasField("tun") else None,
        macvlan=MacvlanData(entry.macvlan.mode, entry.macvlan.flags) if entry.HasField("macvlan") else None,
    )


def _tun_of(tun: m.tun_link_entry, ids: tuple[IdMap, IdMap]) -> TunData:
    uids, gids = ids
    return TunData(
        flags=tun.flags & ~IFF_PERSIST,
        owner=tun.owner if tun.owner < 0 else uids.outside(tun.owner),
        group=tun.group if tun.group < 0 else gids.outside(tun.group),
        vnethdr=0 if tun.vnethdr == DEFAULT_HEADER else tun.vnethdr,
        sndbuf=0 if tun.sndbuf == DEFAULT_BUFFER else tun.sndbuf,
        persistent=bool(tun.flags & IFF_PERSIST),
    )


def settings_of(entry: m.netns_entry, devices: Iterable[m.net_device_entry]) -> Sysctls:
    """All settings of a namespace and its devices."""
    conf4 = {"all": _values(devconf.CONF4, entry.all_conf4), "default": _values(devconf.CONF4, entry.def_conf4)}
    conf6 = {"all": _values(devconf.CONF6, entry.all_conf6), "default": _values(devconf.CONF6, entry.def_conf6)}
    for device in devices:
        conf4[device.name] = _values(devconf.CONF4, device.conf4)
        conf6[device.name] = _values(devconf.CONF6, device.conf6)
    unix, ipv4 = _values(devconf.UNIX, entry.unix_conf), _values(devconf.IPV4, entry.ipv4_sysctl)
    return Sysctls(conf4, conf6, unix, ipv4)


def _values(order: Iterable[str], entries: Iterable[m.sysctl_entry]) -> dict[str, str]:
    return devconf.from_places(order, (_value(entry) for entry in entries))


def _value(entry: m.sysctl_entry) -> str | None:
    if entry.HasField("sarg"):
        return str(entry.sarg)
    return str(entry.iarg) if entry.HasField("iarg") else None


_LOCK = r"(?:CRIU|WOODFROG-[0-9a-f]+)"
_TABLE = pattern(r"^table \S+ \S+ \{.*?^\}\n", re.DOTALL | re.MULTILINE)
_LOCK_TABLE = pattern(r"^table \S+ CRIU\S* \{.*?^\}\n", re.DOTALL | re.MULTILINE)
_LOCK_CHAIN = pattern(rf"^\tchain {_LOCK} \{{.*?^\t\}}\n\n?", re.DOTALL | re.MULTILINE)
_LOCK_JUMP = pattern(rf"^\t\t.*\bjump {_LOCK}\n", re.MULTILINE)
_LEGACY_LOCK = pattern(rf":{_LOCK} |-A {_LOCK} |-A \S+ -j {_LOCK}$")


def without_locks(kind: str, rules: str) -> str:
    """The rules of an image of this kind without a lock that was in force when they were saved."""
    return without_lock(rules) if kind == "nftables" else without_legacy_lock(rules)


def without_lock(rules: str) -> str:
    """nftables rules without a lock that was in force when they were saved: criu's, or ours by iptables."""
    return _TABLE.sub(_unlocked, rules)


def _unlocked(match: re.Match[str]) -> str:
    """One table; one that was only there for the lock is gone."""
    rules = match[0]
    for lock in (_LOCK_TABLE, _LOCK_CHAIN, _LOCK_JUMP):
        rules = lock.sub("", rules)
    return "" if rules != match[0] and does_nothing(rules) else rules


def without_legacy_lock(rules: str) -> str:
    """The same for the output of iptables-save."""
    lines = rules.splitlines(keepends=True)
    left = "".join(line for line in lines if not _LEGACY_LOCK.match(line.rstrip("\n")))
    return left if left == rules or has_rules(left) else ""
