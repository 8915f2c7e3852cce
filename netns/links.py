"""Reading the links of a namespace."""

from __future__ import annotations

import struct
from collections.abc import Callable

from netns.codec import Decoded, decode
from netns.model import Link, MacvlanData, TunData
from netns.wire import Socket, attr, attributes
from values import replace

RTM_GETLINK = 18
IFLA_LINKINFO, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 18, 4, 5
PORT_SETTINGS = frozenset({2, *range(4, 11), 12, 25, *range(27, 34), 39})
"""IFLA_BRPORT_*: priority, hairpin mode, guard, protect, fast leave, learning, flooding, proxy ARP, multicast,
VLAN tunnels, forward mask, neighbour suppression, isolation, lock; the path cost follows the link's speed."""
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_TXQLEN, IFLA_IFALIAS = 1, 3, 4, 13, 20
ARPHRD_LOOPBACK = 772
IFF_UP = 1
FALLBACKS = {
    "tunl0": "ipip",
    "gre0": "gre",
    "gretap0": "gretap",
    "erspan0": "erspan",
    "ip_vti0": "vti",
    "sit0": "sit",
    "ip6tnl0": "ip6tnl",
    "ip6gre0": "ip6gre",
    "ip6_vti0": "vti6",
}
"""Links that the kernel puts into each new namespace when their module is there; unused unless up."""

BRIDGE_SETTINGS = (
    *("IFLA_BR_FORWARD_DELAY", "IFLA_BR_HELLO_TIME", "IFLA_BR_MAX_AGE", "IFLA_BR_AGEING_TIME"),
    *("IFLA_BR_STP_STATE", "IFLA_BR_PRIORITY", "IFLA_BR_VLAN_FILTERING", "IFLA_BR_GROUP_FWD_MASK"),
    *("IFLA_BR_MCAST_SNOOPING", "IFLA_BR_MCAST_ROUTER", "IFLA_BR_MCAST_QUERIER", "IFLA_BR_NF_CALL_IPTABLES"),
    *("IFLA_BR_NF_CALL_IP6TABLES", "IFLA_BR_NF_CALL_ARPTABLES", "IFLA_BR_VLAN_DEFAULT_PVID"),
)
_TUN_TYPES = {1: 1, 2: 2}
_NO_PI, _VNET_HDR, _MULTI_QUEUE, _ONE_QUEUE = 0x1000, 0x4000, 0x0100, 0x2000


def dump(sock: Socket) -> tuple[Link, ...]:
    """All links by index, without unused fallback devices of tunnels."""
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    messages = sock.dump(RTM_GETLINK, body, "list links")
    found = [loopback_of(m.body) or replace(link_of(decode("link", m.raw)), port=port_of(m.body)) for m in messages]
    return tuple(sorted((link for link in found if not is_fallback(link)), key=lambda link: link.index))


def loopback_of(body: bytes) -> Link | None:
    """The link lo, read by hand: a namespace with nothing else need not load pyroute2; None for other links."""
    _, kind, index, flags, _ = struct.unpack_from("=BxHiII", body)
    if kind != ARPHRD_LOOPBACK:
        return None
    found = dict(attributes(body[16:]))
    mtu, queue = (struct.unpack("=I", found[name])[0] for name in (IFLA_MTU, IFLA_TXQLEN))
    alias = found.get(IFLA_IFALIAS, b"").rstrip(b"\0").decode()
    name = found[IFLA_IFNAME].rstrip(b"\0").decode()
    address = found.get(IFLA_ADDRESS, b"")
    return Link("loopback", name, index, mtu, flags, address, tx_queue_length=queue, alias=alias)


def port_of(body: bytes) -> bytes:
    """The settings of a bridge's port that can be set; empty for a link that is in no bridge."""
    found = dict(attributes(body[16:])).get(IFLA_LINKINFO, b"")
    info = dict(attributes(found))
    if info.get(IFLA_INFO_SLAVE_KIND, b"").rstrip(b"\0") != b"bridge":
        return b""
    settings = attributes(info.get(IFLA_INFO_SLAVE_DATA, b""))
    return b"".join(attr(kind, payload) for kind, payload in settings if kind in PORT_SETTINGS)


def is_fallback(link: Link) -> bool:
    return FALLBACKS.get(link.name) == link.kind and not link.flags & IFF_UP


def link_of(seen: Decoded) -> Link:
    """One decoded RTM_NEWLINK message."""
    info = seen.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    if kind is None:
        kind = "loopback" if seen["ifi_type"] == ARPHRD_LOOPBACK else "physical"
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    hardware = seen.get_attr("IFLA_ADDRESS") or ""
    return Link(
        kind=kind,
        name=seen.get_attr("IFLA_IFNAME"),
        index=seen["index"],
        mtu=seen.get_attr("IFLA_MTU") or 0,
        flags=seen["flags"],
        address=bytes.fromhex(hardware.replace(":", "")) if ":" in hardware else b"",
        master=seen.get_attr("IFLA_MASTER") or 0,
        peer_index=seen.get_attr("IFLA_LINK") or 0,
        peer_nsid=seen.get_attr("IFLA_LINK_NETNSID"),
        tx_queue_length=seen.get_attr("IFLA_TXQLEN"),
        alias=seen.get_attr("IFLA_IFALIAS") or "",
        tun=_tun(data.get_attr) if kind == "tun" and data else None,
        macvlan=_macvlan(data.get_attr) if kind == "macvlan" and data else None,
        bridge=_bridge(data.get_attr) if kind == "bridge" and data else {},
    )


def _tun(get: Callable[[str], int | None]) -> TunData:
    """IFLA_TUN_* as the flags of TUNSETIFF; owner and group are absent where nobody is named."""
    flags = _TUN_TYPES.get(get("IFLA_TUN_TYPE") or 0, 0)
    flags |= 0 if get("IFLA_TUN_PI") else _NO_PI
    flags |= _VNET_HDR if get("IFLA_TUN_VNET_HDR") else 0
    flags |= _MULTI_QUEUE if get("IFLA_TUN_MULTI_QUEUE") else 0
    owner, group = get("IFLA_TUN_OWNER"), get("IFLA_TUN_GROUP")
    persistent = bool(get("IFLA_TUN_PERSIST"))
    return TunData(flags, -1 if owner is None else owner, -1 if group is None else group, persistent=persistent)


def _macvlan(get: Callable[[str], object]) -> MacvlanData:
    names = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
    mode, flags = get("IFLA_MACVLAN_MODE"), get("IFLA_MACVLAN_FLAGS")
    number = names[mode] if isinstance(mode, str) else mode
    return MacvlanData(number if isinstance(number, int) else 0, flags if isinstance(flags, int) else 0)


def _bridge(get: Callable[[str], int | None]) -> dict[str, int]:
    pairs = ((name, get(name)) for name in BRIDGE_SETTINGS)
    return {name: value for name, value in pairs if value is not None}


SUPPORTED = frozenset({"loopback", "veth", "tun", "bridge", "macvlan"})


def unsupported(links: tuple[Link, ...], external: frozenset[str]) -> list[str]:
    """Why these links cannot be saved, one sentence each; empty if all can."""
    reasons = []
    for link in links:
        if link.kind not in SUPPORTED and link.name not in external:
            reasons.append(
                f"network link {link.name} is of kind {link.kind}, which cannot be made again; "
                "move it out of the container or remove it"
            )
    return reasons
