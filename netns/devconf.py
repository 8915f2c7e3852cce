"""The order of settings in CRIU's images: net_device_entry and netns_entry know places, not names.

Found by giving every setting its own pattern of values and looking where criu 4.2 puts it.  A place whose
file a kernel lacks stays in the list without a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CONF4 = (
    *("accept_local", "accept_redirects", "accept_source_route", "arp_accept", "arp_announce", "arp_filter"),
    *("arp_ignore", "arp_notify", "bootp_relay", "disable_policy", "disable_xfrm", "force_igmp_version"),
    *(
        "forwarding",
        "igmpv2_unsolicited_report_interval",
        "igmpv3_unsolicited_report_interval",
        "log_martians",
    ),
    *("medium_id", "promote_secondaries", "proxy_arp", "proxy_arp_pvlan", "route_localnet", "rp_filter"),
    *("secure_redirects", "send_redirects", "shared_media", "src_valid_mark", "tag"),
    *("ignore_routes_with_linkdown", "drop_gratuitous_arp", "drop_unicast_in_l2_multicast"),
)
"""/proc/sys/net/ipv4/conf/<device>/; all are numbers."""

CONF6 = (
    *("accept_dad", "accept_ra", "accept_ra_defrtr", "accept_ra_from_local", "accept_ra_min_hop_limit"),
    *("accept_ra_mtu", "accept_ra_pinfo", "accept_ra_rt_info_max_plen", "accept_ra_rtr_pref"),
    *("accept_redirects", "accept_source_route", "autoconf", "dad_transmits", "disable_ipv6"),
    *(
        "drop_unicast_in_l2_multicast",
        "drop_unsolicited_na",
        "force_mld_version",
        "force_tllao",
        "forwarding",
    ),
    *("hop_limit", "ignore_routes_with_linkdown", "keep_addr_on_down", "max_addresses", "max_desync_factor"),
    *("mldv1_unsolicited_report_interval", "mldv2_unsolicited_report_interval", "mtu", "ndisc_notify"),
    *("optimistic_dad", "proxy_ndp", "regen_max_retry", "router_probe_interval", "router_solicitation_delay"),
    *("router_solicitation_interval", "router_solicitations", "stable_secret", "suppress_frag_ndisc"),
    *("temp_prefered_lft", "temp_valid_lft", "use_oif_addrs_only", "use_optimistic", "use_tempaddr"),
)
"""/proc/sys/net/ipv6/conf/<device>/; all are numbers but stable_secret."""

UNIX = ("max_dgram_qlen",)
"""/proc/sys/net/unix/."""

IPV4 = ("ping_group_range",)
"""/proc/sys/net/ipv4/, text."""

TEXTS = frozenset({"stable_secret", "ping_group_range"})
"""Settings that are text (SysctlType CTL_STR); the others are numbers of 32 bits (CTL_32)."""


def to_places(order: Iterable[str], values: Mapping[str, str]) -> list[str | None]:
    """Values in the image's order; None for a setting that is not there."""
    return [values.get(name) for name in order]


def from_places(order: Iterable[str], values: Iterable[str | None]) -> dict[str, str]:
    """The other way round.  An older image may have fewer places; more than are known are ignored."""
    return {name: value for name, value in zip(order, values, strict=False) if value is not None}
