"""Network namespaces (network_namespaces(7)): devices, addresses, routes, rules, settings, filters, connections."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING

from cr import log
from cr.contract import idmaps
from cr.contract.identity import identity
from cr.contract.outside import outside
from cr.contract.resource import NamespaceResource
from cr.contract.tuns import attached
from cr.kernel import proc
from cr.kernel.namespaces import CLONE_NEWNET
from cr.values import replace

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext
    from images import messages as m
    from netns.externals import Externals
    from netns.linkmake import MadeLink
    from netns.model import Link, NetworkState

RAW = {
    "ifaddr": "addresses",
    "route": "routes4",
    "route6": "routes6",
    "rule": "rules",
    "netns-ct": "conntrack",
    "netns-exp": "expectations",
}
"""Kind of image -> field of NetworkState: streams as iproute2 saves them, and raw netlink messages."""
FILTERS = {"iptables": "iptables", "ip6tables": "ip6tables", "nftables": "nftables"}
ALWAYS = frozenset({"ifaddr", "route", "route6", "rule", "iptables", "ip6tables", "nftables"})
"""Images that are written even if there is nothing in them."""


class NetNamespace(NamespaceResource):
    """What the tasks see of the network; sockets are files and have resources of their own."""

    name = "net"
    clone_flag = CLONE_NEWNET
    ids_field = "net_ns_id"
    order = 10

    @classmethod
    def obstacles(cls, task: DumpTask, context: DumpContext) -> list[str]:
        if cls.name in outside(context).empty:
            return []
        inode = proc.namespace_inode(task.pid, "net")
        if inode == proc.namespace_inode("self", "net") or outside(context).namespace("net", inode):
            return []
        return context.once(("links of network", inode), lambda: _unsupported_links(task, context))

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        from images import messages as m

        key = outside(context).namespace("net", proc.namespace_inode(task.pid, "net"))
        if key is not None:
            context.images.write("netns", ns_id, entries=[m.netns_entry(ext_key=key)])
        elif cls.name not in outside(context).empty:
            fd = os.open(f"/proc/{task.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _dump(fd, ns_id, context)
            finally:
                os.close(fd)

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        fd = os.open(f"/proc/{context.first_in(cls.ids_field, ns_id).puppet.tid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if cls.name in outside(context).empty or not context.images.exists("netns", ns_id):
                from netns.loopback import bring_up

                bring_up(fd)  # criu leaves it down, and connections to oneself fail
            else:
                _restore(fd, ns_id, context)
        finally:
            os.close(fd)


def _unsupported_links(task: DumpTask, context: DumpContext) -> list[str]:
    from netns import links, state, sysctl  # noqa: F401 (loaded while nothing is frozen)
    from netns.enter import run_in
    from netns.wire import Socket

    fd = os.open(f"/proc/{task.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        settings = run_in(fd, sysctl.dump_others)  # some hundred files, read before anything is frozen
        context.once("other network settings", dict[int, dict[str, str]])[proc.namespace_inode(task.pid, "net")] = (
            settings
        )
        with run_in(fd, Socket) as sock:
            return links.unsupported(links.dump(sock), frozenset(outside(context).external["netdev"]))
    finally:
        os.close(fd)


def _dump(fd: int, ns_id: int, context: DumpContext) -> None:
    from cr.contract.net_extras import extras_message
    from cr.contract.net_images import link_message, settings_message, without_locks
    from netns import state
    from netns.errors import NetnsError

    try:
        found = state.dump(fd, frozenset(outside(context).external["netdev"]), all_settings=False)
    except NetnsError as error:
        for sentence in str(error).splitlines():
            context.refuse(sentence)
        return
    ids = idmaps.uids(context), idmaps.gids(context)
    known = [_with_sizes(link, ns_id, context) for link in found.links]
    numbers = _numbers_of_others(fd, ns_id, context)
    links = [link_message(link, ns_id, numbers, found.sysctls, ids) for link in known]
    context.images.write("netdev", ns_id, entries=links)
    entry = settings_message(found.sysctls)
    for number, other in numbers.items():
        entry.nsids.add(target_ns_id=other, netnsid_value=number)
    context.images.write("netns", ns_id, entries=[entry])
    settings = context.once("other network settings", dict[int, dict[str, str]]).get(os.fstat(fd).st_ino, {})
    extras = extras_message(found.links, found.neighbours, settings)
    context.images.write("woodfrog-netns", ns_id, entries=[extras])
    for kind, name in RAW.items():
        _write(kind, ns_id, getattr(found, name), context)
    for kind, name in FILTERS.items():
        _write(kind, ns_id, without_locks(kind, getattr(found.firewall, name) or "").encode(), context)


def _numbers_of_others(fd: int, ns_id: int, context: DumpContext) -> dict[int, int]:
    """The numbers that the tree's other network namespaces have in this one -> their ids in the images."""
    from netns.enter import run_in
    from netns.rtnl import nsid_of
    from netns.wire import Socket

    found = {}
    others = {task.ids["net_ns_id"]: task for task in context.live_tasks if task.ids["net_ns_id"] != ns_id}
    for other, task in others.items():
        there = os.open(f"/proc/{task.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with run_in(fd, Socket) as sock:
                number = nsid_of(sock, there)
        finally:
            os.close(there)
        if number >= 0:
            found[number] = other
    return found


def _with_sizes(link: Link, ns_id: int, context: DumpContext) -> Link:
    """A tun with what its users know of it; one that goes with its last user must have one in the tree."""
    if link.tun is None:
        return link
    known = attached(context).get((ns_id, link.name))
    if known is not None:
        return replace(link, tun=replace(link.tun, vnethdr=known.header, sndbuf=known.send_buffer))
    if not link.tun.persistent and link.name not in outside(context).external["netdev"]:
        context.refuse(
            f"network link {link.name} is a tun that a process outside of the tree has open: make it persistent, "
            f"or leave it out with --external netdev[{link.name}]:OUTER"
        )
    return link


def _write(kind: str, ns_id: int, content: bytes, context: DumpContext) -> None:
    if not content and kind not in ALWAYS:
        return
    with os.fdopen(context.images.open_raw(kind, ns_id, write=True), "wb") as image:
        image.write(content)


def _restore(fd: int, ns_id: int, context: RestoreContext) -> None:
    from netns import state
    from netns.model import Firewall

    saved = _read_state(ns_id, context)
    restored_before = context.once("restored networks", dict[int, bool])
    _number_others(fd, ns_id, context)
    parked = context.once("parked links", dict[tuple[int, int], tuple[int, str]])
    externals = replace(
        _externals(context),
        later=frozenset(ids[0] for ids in context.images.ids("netdev")) - restored_before.keys() - {ns_id},
        parked=parked,
    )
    for inner, outer in outside(context).external["netdev"].items():
        numbers = [link.index for link in saved.links if link.name == inner]
        _move_in(fd, inner, outer, numbers[0] if numbers else 0)
    new = identity(context.options)
    if new is not None:
        from netns.remap import remap

        saved = remap(saved, new.address)
    restored = state.restore(saved, fd, externals, context.options.weak_sysctls)
    if restored.left:
        log.warning(f"settings of the network that cannot be set here: {', '.join(restored.left)}")
    if restored.outside:
        context.undo.append(partial(remove_outside, restored.outside))
    restored_before[ns_id] = saved.firewall != Firewall()
    here = context.keep(os.dup(fd))
    parked.update({(ns_id, index): (here, name) for index, name in restored.parked.items()})
    context.last.append(partial(state.restore_filters, saved, here))


def _number_others(fd: int, ns_id: int, context: RestoreContext) -> None:
    """Network namespaces that exist by now get the numbers in each other that they had."""
    from netns.enter import run_in
    from netns.rtnl import set_nsid
    from netns.wire import Socket

    before = context.once("restored networks", dict[int, bool])
    pairs = [(ns_id, other) for other in before] + [(other, ns_id) for other in before]
    for place, target in pairs:
        for entry in context.images.read_one("netns", place).nsids:
            if entry.target_ns_id == target:
                own, there = (fd if number == ns_id else context.network_of(number) for number in (place, target))
                with run_in(own, Socket) as sock:
                    set_nsid(sock, there, entry.netnsid_value)


def _read_state(ns_id: int, context: RestoreContext) -> NetworkState:
    from cr.contract import net_extras
    from cr.contract.net_extras import neighbours_of, with_extras
    from cr.contract.net_images import link_of, settings_of, without_locks
    from netns.model import Firewall, NetworkState

    devices, extras = context.images.read("netdev", ns_id), _read_extras(ns_id, context)
    moved = outside(context).external["netdev"]
    ids = idmaps.uids(context), idmaps.gids(context)
    raw = {name: _read(kind, ns_id, context) for kind, name in RAW.items()}
    texts = {name: without_locks(kind, _read(kind, ns_id, context).decode()) for kind, name in FILTERS.items()}
    return NetworkState(
        links=tuple(_link(with_extras(link_of(entry, ns_id, ids), extras), moved) for entry in devices),
        neighbours=neighbours_of(extras),
        sysctls=replace(
            settings_of(context.images.read_one("netns", ns_id), devices), others=net_extras.settings_of(extras)
        ),
        firewall=Firewall(**{name: text or None for name, text in texts.items()}),
        addresses=raw["addresses"],
        routes4=raw["routes4"],
        routes6=raw["routes6"],
        rules=raw["rules"],
        conntrack=raw["conntrack"],
        expectations=raw["expectations"],
    )


def _read_extras(ns_id: int, context: RestoreContext) -> m.woodfrog_netns_entry:
    from images import messages as m

    if not context.images.exists("woodfrog-netns", ns_id):
        return m.woodfrog_netns_entry()
    entry: m.woodfrog_netns_entry = context.images.read_one("woodfrog-netns", ns_id)
    return entry


def _link(link: Link, moved: dict[str, str]) -> Link:
    return replace(link, kind="external") if link.name in moved else link


def _read(kind: str, ns_id: int, context: RestoreContext) -> bytes:
    if not context.images.exists(kind, ns_id):
        return b""
    with os.fdopen(context.images.open_raw(kind, ns_id), "rb") as image:
        return image.read()


def _externals(context: RestoreContext) -> Externals:
    from netns.externals import Outer, parse

    found = parse(outside(context).links)
    there = {name: Outer("") for name in outside(context).external["netdev"]}
    return replace(found, veth={**found.veth, **there})


def _move_in(fd: int, inner: str, outer: str, number: int) -> None:
    from netns import rtnl
    from netns.wire import Socket, text

    with Socket() as sock:
        index = rtnl.index_of(sock, outer, "namespace outside")
        attrs = rtnl.u32(rtnl.IFLA_NET_NS_FD, fd) + text(rtnl.IFLA_IFNAME, inner)
        attrs += rtnl.u32(rtnl.IFLA_NEW_IFINDEX, number) if number else b""
        rtnl.change_link(sock, index, f"move network link {outer} into the tree's namespace as {inner}", attrs)


def remove_outside(made: tuple[MadeLink, ...]) -> None:
    """Remove the outer ends of links; OSError where that fails."""
    from netns.errors import NetnsError
    from netns.veth import remove

    try:
        remove(made)
    except NetnsError as error:
        raise OSError(error.errno or errno.EIO, str(error)) from error
