"""Making links again, and undoing it."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping

from netns import rtnl, tun
from netns.enter import open_netns, run_in
from netns.errors import NetnsError
from netns.externals import Externals, Outer
from netns.links import SUPPORTED, dump
from netns.model import IFF_UP, SETTABLE_FLAGS, Link
from netns.wire import Socket, attr, text
from values import dataclass, field

NAME_DEADLINE = 3.0
"""Seconds to wait for a name that is taken."""
PARKED = 1 << 24
"""Indexes from here on are nobody's: ends of pairs that wait for their namespace have them."""
VETH_PEER, MACVLAN_MODE, MACVLAN_FLAGS = 1, 1, 2


@dataclass(frozen=True)
class MadeLink:
    """A link outside of the namespace that was made for it: plain data for undoing.

    Links inside go with their namespace.
    """

    name: str
    index: int


@dataclass
class Maker:
    """Makes the links of one namespace; `indexes` maps saved indexes to those of now."""

    sock: Socket
    netns_fd: int
    outer: Socket
    outer_fd: int
    externals: Externals
    indexes: dict[int, int] = field(default_factory=dict)
    outside: list[MadeLink] = field(default_factory=list)
    parked: dict[int, str] = field(default_factory=dict)
    there: dict[str, Link] = field(default_factory=dict)
    """what a script has put into the namespace (--action-script at setup-namespaces)"""

    def make_all(self, links: tuple[Link, ...]) -> None:
        """Make every link, then put them into their bridges.  Raises NetnsError that names the link."""
        if any(link.kind != "loopback" for link in links):
            self.there = {found.name: found for found in dump(self.sock)}
        by_index = {link.index: link for link in links}
        for link in sorted(links, key=_order):
            if link.index not in self.indexes:
                self._make(link, by_index)
        for link in links:
            self._dress(link)

    def _make(self, link: Link, by_index: Mapping[int, Link]) -> None:
        makers: dict[str, Callable[[Link], None]] = {
            "loopback": self._loopback,
            "tun": lambda it: run_in(self.netns_fd, lambda: tun.make(it)),
            "bridge": self._bridge,
            "macvlan": self._macvlan,
        }
        found = self.there.get(link.name)
        if found is not None and found.kind == link.kind:
            self.indexes[link.index] = found.index
            return
        if link.kind == "veth":
            self._veth(link, by_index)
        elif link.kind in SUPPORTED:
            makers[link.kind](link)
        elif link.name not in self.externals.veth:
            raise NetnsError(f"network link {link.name} is of kind {link.kind}, which cannot be made again")
        self.indexes[link.index] = rtnl.index_of(self.sock, link.name)

    def _loopback(self, link: Link) -> None:
        """It is there from the start."""

    def _bridge(self, link: Link) -> None:
        """A setting is written only where the new bridge differs: some are only shown."""
        body = rtnl.head(link.index) + text(rtnl.IFLA_IFNAME, link.name) + rtnl.linkinfo("bridge")
        rtnl.new_link(self.sock, body, f"make bridge {link.name}")
        now = next(found for found in dump(self.sock) if found.name == link.name)
        for name, value in link.bridge.items():
            if now.bridge.get(name) != value:
                data = rtnl.linkinfo("bridge", attr(*_bridge_setting(name, value)))
                rtnl.change_link(self.sock, now.index, f"set {name} of bridge {link.name} to {value}", data)

    def _macvlan(self, link: Link) -> None:
        """Made where its lower link is, straight into the namespace."""
        mode, flags = (link.macvlan.mode, link.macvlan.flags) if link.macvlan else (4, 0)
        data = rtnl.u32(MACVLAN_MODE, mode) + attr(MACVLAN_FLAGS, struct.pack("=H", flags))
        body = rtnl.head(link.index) + text(rtnl.IFLA_IFNAME, link.name) + rtnl.linkinfo("macvlan", data)
        outer = self.externals.macvlan.get(link.name)
        if outer is not None:
            lower = rtnl.index_of(self.outer, outer, "namespace outside")
            body += rtnl.u32(rtnl.IFLA_LINK, lower) + rtnl.u32(rtnl.IFLA_NET_NS_FD, self.netns_fd)
            rtnl.new_link(self.outer, body, f"make macvlan {link.name} on {outer}")
        elif link.peer_nsid is None and link.peer_index in self.indexes:
            body += rtnl.u32(rtnl.IFLA_LINK, self.indexes[link.peer_index])
            rtnl.new_link(self.sock, body, f"make macvlan {link.name}")
        else:
            raise NetnsError(
                f"macvlan {link.name} sits on a link outside of its network namespace; "
                f"name that link with --external macvlan[{link.name}]:<outer device>"
            )

    def _veth(self, link: Link, by_index: Mapping[int, Link]) -> None:
        """Both ends at once: the other one here, in a namespace restored with this one, or outside."""
        if self._came_as_a_peer(link):
            return
        peer = by_index.get(link.peer_index) if link.peer_nsid is None else None
        if peer is not None:
            self._veth_pair(link, rtnl.head(peer.index) + text(rtnl.IFLA_IFNAME, peer.name))
            self.indexes[peer.index] = rtnl.index_of(self.sock, peer.name)
            return
        if link.peer_nsid in self.externals.later:
            self._park(link)
            return
        if link.peer_nsid is not None and (link.peer_nsid, link.peer_index) in self.externals.parked:
            self._fetch(link, *self.externals.parked[link.peer_nsid, link.peer_index])
            return
        if link.peer_nsid is not None and link.peer_nsid in self.externals.peers:
            fd = rtnl.u32(rtnl.IFLA_NET_NS_FD, self.externals.peers[link.peer_nsid])
            self._veth_pair(link, rtnl.head(link.peer_index) + fd)
            return
        outer = self.externals.veth.get(link.name, Outer(""))
        name = text(rtnl.IFLA_IFNAME, outer.name or "veth%d")
        self._veth_pair_outside(link, rtnl.head() + name + rtnl.u32(rtnl.IFLA_NET_NS_FD, self.outer_fd))
        self._outer_end(link, outer)

    def _park(self, link: Link) -> None:
        """The other end belongs into a namespace that is not there yet: it waits here, under a name of its own."""
        name = f"parked{link.index}"
        self._veth_pair(link, rtnl.head(PARKED + link.index) + text(rtnl.IFLA_IFNAME, name))
        self.parked[link.index] = name

    def _fetch(self, link: Link, fd: int, name: str) -> None:
        """Take an end that waits in another namespace."""
        attrs = rtnl.u32(rtnl.IFLA_NET_NS_FD, self.netns_fd) + text(rtnl.IFLA_IFNAME, link.name)
        attrs += rtnl.u32(rtnl.IFLA_NEW_IFINDEX, link.index)
        with run_in(fd, Socket) as there:
            rtnl.change_link(
                there, rtnl.index_of(there, name), f"move network link {link.name} to its namespace", attrs
            )

    def _veth_pair_outside(self, link: Link, peer: bytes) -> None:
        """The kernel takes a dead namespace apart in its own time: this name may be just going."""
        end = time.monotonic() + NAME_DEADLINE
        while True:
            try:
                self._veth_pair(link, peer)
            except NetnsError as err:
                if err.errno != errno.EEXIST:
                    raise
                if time.monotonic() > end:
                    outer = self.externals.veth.get(link.name, Outer("")).name
                    raise NetnsError(
                        f"cannot make veth {link.name}: there is a link {outer or link.name} already; "
                        f"remove it, or choose another name with --external veth[{link.name}]:<name>",
                        errno.EEXIST,
                    ) from err
                time.sleep(0.01)
            else:
                return

    def _came_as_a_peer(self, link: Link) -> bool:
        """An end that was made with the other one, in a namespace restored earlier, lacks its name only."""
        now = next((found for found in dump(self.sock) if found.index == link.index), None)
        if now is None or now.kind != "veth" or link.peer_nsid is None:
            return False
        name = text(rtnl.IFLA_IFNAME, link.name)
        rtnl.change_link(self.sock, link.index, f"name network link {link.name}", name)
        return True

    def _veth_pair(self, link: Link, peer: bytes) -> None:
        body = rtnl.head(link.index) + text(rtnl.IFLA_IFNAME, link.name)
        body += rtnl.linkinfo("veth", attr(VETH_PEER, peer))
        rtnl.new_link(self.sock, body, f"make veth {link.name}")

    def _outer_end(self, link: Link, outer: Outer) -> None:
        """Note the outer end for undoing, put it into its bridge and bring it up."""
        now = next(found for found in dump(self.sock) if found.name == link.name)
        name = outer.name or rtnl.name_of(self.outer, now.peer_index)
        self.outside.append(MadeLink(name, now.peer_index))
        attrs = rtnl.u32(rtnl.IFLA_MTU, link.mtu) if link.mtu else b""
        if outer.bridge:
            master = rtnl.index_of(self.outer, outer.bridge, "namespace outside")
            attrs += rtnl.u32(rtnl.IFLA_MASTER, master)
        what = f"set up {name}, the outer end of {link.name}" + (f", in bridge {outer.bridge}" if outer.bridge else "")
        rtnl.change_link(self.outer, now.peer_index, what, attrs, IFF_UP, IFF_UP)

    def _dress(self, link: Link) -> None:
        """Hardware address, MTU, queue length, alias and bridge; flags come later."""
        attrs = rtnl.u32(rtnl.IFLA_MTU, link.mtu) if link.mtu else b""
        if link.address and link.kind != "loopback":
            attrs += attr(rtnl.IFLA_ADDRESS, link.address)
        if link.tx_queue_length is not None:
            attrs += rtnl.u32(rtnl.IFLA_TXQLEN, link.tx_queue_length)
        if link.alias:
            attrs += text(rtnl.IFLA_IFALIAS, link.alias)
        if link.master:
            if link.master not in self.indexes:
                raise NetnsError(f"network link {link.name} was in a bridge (index {link.master}) that is not saved")
            attrs += rtnl.u32(rtnl.IFLA_MASTER, self.indexes[link.master])
        rtnl.change_link(self.sock, self.indexes[link.index], f"set up network link {link.name}", attrs)
        if link.port:
            what = f"set up network link {link.name} as a port of its bridge"
            rtnl.change_link(self.sock, self.indexes[link.index], what, rtnl.port_settings(link.port))

    def raise_flags(self, links: tuple[Link, ...]) -> None:
        """Give every link its flags, UP among them."""
        for link in links:
            index = self.indexes[link.index]
            flags = link.flags & SETTABLE_FLAGS
            rtnl.change_link(self.sock, index, f"bring up network link {link.name}", b"", flags, SETTABLE_FLAGS)

    def undo(self) -> None:
        """Remove what was made outside; what is inside goes with the namespace."""
        for made in reversed(self.outside):
            rtnl.delete_link(self.outer, made.index, made.name)
        self.outside.clear()


def _order(link: Link) -> tuple[int, int]:
    """Lower links before those on top of them."""
    return ({"loopback": 0, "tun": 1, "veth": 1, "bridge": 1, "macvlan": 2}.get(link.kind, 3), link.index)


_BRIDGE_FORMATS: dict[str, tuple[int, str]] = {
    "IFLA_BR_FORWARD_DELAY": (1, "=I"),
    "IFLA_BR_HELLO_TIME": (2, "=I"),
    "IFLA_BR_MAX_AGE": (3, "=I"),
    "IFLA_BR_AGEING_TIME": (4, "=I"),
    "IFLA_BR_STP_STATE": (5, "=I"),
    "IFLA_BR_PRIORITY": (6, "=H"),
    "IFLA_BR_VLAN_FILTERING": (7, "=B"),
    "IFLA_BR_GROUP_FWD_MASK": (9, "=H"),
    "IFLA_BR_MCAST_ROUTER": (22, "=B"),
    "IFLA_BR_MCAST_SNOOPING": (23, "=B"),
    "IFLA_BR_MCAST_QUERIER": (25, "=B"),
    "IFLA_BR_NF_CALL_IPTABLES": (36, "=B"),
    "IFLA_BR_NF_CALL_IP6TABLES": (37, "=B"),
    "IFLA_BR_NF_CALL_ARPTABLES": (38, "=B"),
    "IFLA_BR_VLAN_DEFAULT_PVID": (39, "=H"),
}


def _bridge_setting(name: str, value: int) -> tuple[int, bytes]:
    if name not in _BRIDGE_FORMATS:
        raise NetnsError(f"saved bridge has a setting {name} that this version does not know")
    kind, layout = _BRIDGE_FORMATS[name]
    return kind, struct.pack(layout, value)


@contextlib.contextmanager
def maker(netns_fd: int, externals: Externals) -> Iterator[Maker]:
    """A maker for a namespace, with sockets in it and outside for as long as the scope lasts."""
    with contextlib.ExitStack() as stack:
        outer_fd = externals.outer_fd
        if outer_fd is None:
            outer_fd = open_netns()
            stack.callback(os.close, outer_fd)
        outer = stack.enter_context(run_in(externals.outer_fd, Socket))
        inner = stack.enter_context(run_in(netns_fd, Socket))
        yield Maker(inner, netns_fd, outer, outer_fd, externals)
