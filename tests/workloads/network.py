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
"""
RP_FILTER = Path("/proc/sys/net/ipv4/conf/ve0/rp_filter")


def ask(*arguments: str) -> list[dict[str, object]]:
    answer = subprocess.run(["ip", "-j", *arguments], check=True, capture_output=True, text=True).stdout
    found: list[dict[str, object]] = json.loads(answer)
    return found


def state() -> dict[str, object]:
    keys = ("ifname", "ifindex", "mtu", "address", "master", "link")
    links = [{key: link.get(key) for key in keys} for link in ask("link")]
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
    }


with workload() as check:
    subprocess.run(["ip", "-b", "-"], input=SETUP, check=True, text=True)
    RP_FILTER.write_text("2")
    before = state()
    check.wait()
    after = state()
    for name in before:
        check.equal(after[name], before[name], name)
