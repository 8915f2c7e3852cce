"""veth pairs for a new container: one end inside with addresses and routes, the other one outside."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable

from netns import rtnl, wire
from netns.externals import Externals, Outer, check_name
from netns.linkmake import MadeLink, maker
from netns.model import IFF_UP, Link
from netns.wire import Socket, attr
from values import dataclass

RTM_NEWADDR, RTM_NEWROUTE = 20, 24
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS, IFA_F_NODAD = 1, 2, 8, 0x02
RTA_GATEWAY, RTA_OIF = 5, 4


@dataclass(frozen=True)
class VethSpec:
    """One pair: `name` inside, `outer` outside ("": the kernel's choice), `bridge` that the outer end joins.

    `addresses` as "10.0.0.2/24"; `gateways` become default routes; `mac` is six bytes; `mtu` 0 the default.
    """

    name: str
    outer: str = ""
    bridge: str = ""
    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    mac: bytes = b""
    mtu: int = 0


def setup(netns_fd: int, specs: Iterable[VethSpec], outer_fd: int | None = None) -> list[MadeLink]:
    """Bring lo up and make the pairs; answers the outer ends, which vanish with the inner ones.

    A failure removes what was made.  Raises NetnsError.
    """
    known = list(specs)
    outers = {check_name(s.name, "veth"): Outer(s.outer, s.bridge) for s in known}
    # index 0 lets the kernel choose; no namespace has the id -1, so the peer is outside
    links = tuple(Link("veth", s.name, 0, s.mtu, IFF_UP, s.mac, peer_nsid=-1) for s in known)
    with maker(netns_fd, Externals(outers, {}, outer_fd)) as work:
        try:
            rtnl.change_link(work.sock, rtnl.index_of(work.sock, "lo"), "bring up lo", b"", IFF_UP, IFF_UP)
            for link, spec in zip(links, known, strict=True):
                work.make_all((link,))
                work.raise_flags((link,))
                _address(work.sock, work.indexes.pop(link.index), spec)
        except BaseException:
            work.undo()
            raise
        return list(work.outside)


def _address(sock: Socket, index: int, spec: VethSpec) -> None:
    for text in spec.addresses:
        interface = ipaddress.ip_interface(text)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, 0, index)
        body += attr(IFA_LOCAL, interface.ip.packed) + attr(IFA_ADDRESS, interface.ip.packed)
        body += rtnl.u32(IFA_FLAGS, IFA_F_NODAD if family == socket.AF_INET6 else 0)
        sock.request(RTM_NEWADDR, wire.CREATE | wire.EXCL, body, f"add address {text} to {spec.name}")
    for text in spec.gateways:
        gateway = ipaddress.ip_address(text)
        family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
        # rtmsg: table main 254, protocol boot 3, scope universe 0, type unicast 1
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 3, 0, 1, 0)
        body += attr(RTA_GATEWAY, gateway.packed) + rtnl.u32(RTA_OIF, index)
        what = f"add the default route by {text} on {spec.name}"
        sock.request(RTM_NEWROUTE, wire.CREATE | wire.EXCL, body, what, (errno.EEXIST,))


def remove(made: Iterable[MadeLink], outer_fd: int | None = None) -> None:
    """Remove outer ends and with them the pairs; those that are gone are fine."""
    from netns.enter import run_in

    with run_in(outer_fd, Socket) as sock:
        for link in made:
            rtnl.delete_link(sock, link.index, link.name)
