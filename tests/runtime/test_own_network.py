"""A container that has configured its network itself keeps it with --own-network; without, it comes back empty."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.runtime.bundle import Bundle
from tests.runtime.freezing import checkpoint, counting, cycle, restore, start

pytestmark = pytest.mark.root


def links(bundle: Bundle) -> dict[str, tuple[str, list[str]]]:
    """Name -> hardware address and addresses of each link of the container."""
    pid = str(bundle.state()["pid"])
    command = ["nsenter", "--target", pid, "--net", "ip", "-json", "address"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    return {
        link["ifname"]: (link["address"], [address["local"] for address in link["addr_info"] if "local" in address])
        for link in found
    }


def bridged(bundle: Bundle) -> dict[str, tuple[str, list[str]]]:
    """As a container engine inside of a container leaves it."""
    counting(bundle)
    start(bundle)
    pid = str(bundle.state()["pid"])
    script = (
        "ip link add br0 address 02:00:00:00:00:07 type bridge; ip address add 10.9.8.7/24 dev br0; "
        "ip link add va type veth peer name vb; ip link set va master br0"
    )
    subprocess.run(["nsenter", "--target", pid, "--net", "sh", "-ec", script], check=True, timeout=30)
    return links(bundle)


def test_it_comes_back_with_its_links_and_addresses(bundle: Bundle) -> None:
    before = bridged(bundle)
    assert before["br0"] == ("02:00:00:00:00:07", ["10.9.8.7"])
    for _ in range(2):
        cycle(bundle, "--own-network")
        assert links(bundle) == before


def test_it_is_left_to_others_otherwise(bundle: Bundle) -> None:
    bridged(bundle)
    checkpoint(bundle)
    restore(bundle)
    assert list(links(bundle)) == ["lo"]
