"""A network namespace with a veth pair in a bridge, addresses, routes and settings."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lib import workload

SETUP = """
link set lo up
link add br7 type bridge
link set br7 up
link add ve0 type veth peer name ve1
link set ve1 master br7 up
link set ve0 mtu 1400 address 02:00:00:00:00:07 up
addr add 10.9.8.7/24 dev ve0
addr add fd00::7/64 dev ve0 nodad
route add 10.55.0.0/16 via 10.9.8.1
rule add from 10.9.8.0/24 lookup 77 priority 50
link set ve0 txqueuelen 77 alias "inner end"
link set br7 type bridge forward_delay 500 ageing_time 12300
link set ve1 type bridge_slave hairpin on isolated on priority 9
neigh add 10.9.8.9 lladdr 02:00:00:00:00:09 dev ve0
neigh add fd00::9 lladdr 02:00:00:00:00:09 dev ve0 router
"""
SETTINGS = {
    "ipv4/ip_local_port_range": "20000\t30000",
    "ipv4/ip_unprivileged_port_start": "80",
    "core/somaxconn": "77",
    "ipv6/bindv6only": "1",
    "ipv6/conf/ve0/addr_gen_mode": "1",
    "ipv4/conf/ve0/arp_evict_nocarrier": "0",
}
NET = Path("/proc/sys/net")
RP_FILTER = NET / "ipv4/conf/ve0/rp_filter"


def ask(*arguments: str) -> list[dict[str, object]]:
    answer = subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True).stdout
    found: list[dict[str, object]] = json.loads(answer)
    return found


def state() -> dict[str, object]:
    keys = ("ifname", "ifindex", "mtu", "address", "master", "link", "txqlen", "ifalias")
    links = [{key: link.get(key) for key in keys} for link in ask("link")]
    details = {link["ifname"]: link.get("linkinfo", {}) for link in ask("-d", "link")}
    bridge, port = details["br7"]["info_data"], details["ve1"]["info_slave_data"]  # type: ignore[index]
    neighbours = sorted((n["dst"], n["lladdr"], n.get("router")) for n in ask("neigh") if "PERMANENT" in n["state"])
    addresses = sorted(
        (a["local"], a["prefixlen"]) for link in ask("addr", "show", "dev", "ve0") for a in link["addr_info"]
    )  # type: ignore[attr-defined]
    routes = [(route["dst"], route.get("gateway"), route.get("dev")) for route in ask("route")]
    rules = [(rule["priority"], rule["src"], rule["table"]) for rule in ask("rule")]
    return {
        "links": links,
        "addresses": addresses,
        "routes": routes,
        "rules": rules,
        "rp_filter": RP_FILTER.read_text(),
        "bridge": [bridge[name] for name in ("forward_delay", "ageing_time")],
        "port": [port[name] for name in ("hairpin", "isolated", "priority")],
        "neighbours": neighbours,
        "settings": {name: (NET / name).read_text().strip() for name in SETTINGS},
    }


with workload() as check:
    subprocess.run(["ip", "-b", "-"], input=SETUP, check=True, text=True)
    RP_FILTER.write_text("2")
    for name, value in SETTINGS.items():
        (NET / name).write_text(value)
    before = state()
    check.equal(before["settings"], SETTINGS, "settings before")
    check.equal([before["port"], before["bridge"]], [[True, True, 9], [500, 12300]], "bridge before")
    check.wait()
    after = state()
    for name in before:
        check.equal(after[name], before[name], name)
