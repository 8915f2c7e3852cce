"""What is saved of a network namespace: plain values."""

from __future__ import annotations

from collections.abc import Mapping

from values import dataclass, field

IFF_UP = 0x1
IFF_PROMISC = 0x100
IFF_ALLMULTI = 0x200
IFF_NOARP = 0x80
IFF_DYNAMIC = 0x8000
IFF_MULTICAST = 0x1000
SETTABLE_FLAGS = IFF_UP | IFF_PROMISC | IFF_ALLMULTI | IFF_NOARP | IFF_DYNAMIC | IFF_MULTICAST


@dataclass(frozen=True)
class TunData:
    """tun or tap: `flags` as TUNSETIFF takes them (IFF_TUN 1, IFF_TAP 2, IFF_NO_PI 0x1000, …).

    `owner`, `group` are -1 where nobody is named; `vnethdr` and `sndbuf` are bytes, 0 for the kernel's own.
    """

    flags: int
    owner: int = -1
    group: int = -1
    vnethdr: int = 0
    sndbuf: int = 0
    persistent: bool = True


@dataclass(frozen=True)
class MacvlanData:
    """macvlan: `mode` as IFLA_MACVLAN_MODE has it (private 1, vepa 2, bridge 4, passthru 8, source 16)."""

    mode: int
    flags: int = 0


@dataclass(frozen=True)
class Link:
    """One network device.

    `kind` is loopback, veth, tun, bridge, macvlan, or what the kernel calls another.  `address` is the
    hardware address.  `peer_index` is the other end of a veth or the lower device of a macvlan; `peer_nsid`
    says in which namespace (None: this one).  `master` is the index of the bridge it is in, 0 for none.
    `bridge` has the settings of a bridge by IFLA_BR_ name, `port` those of a bridge's port: attributes IFLA_BRPORT_*
    as netlink has them.
    """

    kind: str
    name: str
    index: int
    mtu: int
    flags: int
    address: bytes = b""
    master: int = 0
    peer_index: int = 0
    peer_nsid: int | None = None
    tx_queue_length: int | None = None
    alias: str = ""
    tun: TunData | None = None
    macvlan: MacvlanData | None = None
    bridge: Mapping[str, int] = field(default_factory=dict)
    port: bytes = b""


@dataclass(frozen=True)
class Address:
    """One address of a link; `local` and `peer` as text, flags as in IFA_FLAGS."""

    family: int
    local: str
    prefix: int
    index: int
    scope: int
    flags: int
    peer: str = ""
    label: str = ""


@dataclass(frozen=True)
class Route:
    """One route; "" for the default destination, 0 for what is not set."""

    family: int
    destination: str
    prefix: int
    table: int
    protocol: int
    scope: int
    type: int
    gateway: str = ""
    out_index: int = 0
    priority: int = 0
    source: str = ""


@dataclass(frozen=True)
class Rule:
    """One policy rule (ip-rule(8))."""

    family: int
    priority: int
    table: int
    action: int
    source: str = ""
    destination: str = ""
    mark: int = 0


@dataclass(frozen=True)
class Neighbour:
    """One permanent entry of the neighbour table; `link_address` is the hardware address."""

    family: int
    index: int
    address: str
    link_address: bytes
    flags: int = 0


@dataclass(frozen=True)
class Sysctls:
    """/proc/sys/net, file name to text; `conf4` and `conf6` by device ("all" and "default" too)."""

    conf4: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    conf6: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unix: Mapping[str, str] = field(default_factory=dict)
    ipv4: Mapping[str, str] = field(default_factory=dict)
    core: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    """those that CRIU's images have no place for, by path below /proc/sys/net"""


@dataclass(frozen=True)
class Firewall:
    """Rule sets as text of their own programs; None where there are none."""

    nftables: str | None = None
    iptables: str | None = None
    ip6tables: str | None = None


@dataclass(frozen=True)
class NetworkState:
    """A whole namespace.

    `addresses`, `routes4`, `routes6`, `rules` are streams as `ip addr save`, `ip -4 route save`, `ip -6 route
    save` and `ip rule save` write them; `conntrack` and `expectations` are raw netlink messages.
    """

    links: tuple[Link, ...] = ()
    addresses: bytes = b""
    routes4: bytes = b""
    routes6: bytes = b""
    rules: bytes = b""
    neighbours: tuple[Neighbour, ...] = ()
    sysctls: Sysctls = field(default_factory=Sysctls)
    firewall: Firewall = field(default_factory=Firewall)
    conntrack: bytes = b""
    expectations: bytes = b""
    nsids: Mapping[int, int] = field(default_factory=dict)
