"""The network around a dump and a restore: locks of both kinds, filters and what they have tracked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from images.directory import ImageDirectory
from tests.cr.harness import Workload
from tests.cr.test_namespaces import unshare

pytestmark = pytest.mark.root


def rules_here() -> str:
    """All rules of our own network namespace."""
    commands = ("nft list ruleset", "iptables-legacy-save", "ip6tables-legacy-save")
    texts = [subprocess.run(c.split(), capture_output=True, text=True, check=True).stdout for c in commands]
    return "\n".join(line for text in texts for line in text.splitlines() if not line.startswith("#"))


def needs(*programs: str) -> None:
    for name in programs:
        if shutil.which(name) is None:
            pytest.skip(f"this kernel lacks what is tested: {name} is not installed")


@pytest.mark.parametrize("method", ["nftables", "iptables"])
def test_a_tracked_connection_passes_its_firewall(method: str, tmp_path: Path) -> None:
    needs("nft", "iptables")
    with Workload("tracked", tmp_path, prefix=unshare("net")) as workload:
        workload.dump(tcp_established=True, network_lock=method)
        with ImageDirectory.open(workload.images) as images:
            kinds = ("nftables", "iptables", "ip6tables")
            saved = [
                (workload.images / f"{kind}-{ids[0]}.img").read_text() for kind in kinds for ids in images.ids(kind)
            ]
        assert not any(word in text for text in saved for word in ("WOODFROG", "CRIU"))
        workload.restore(tcp_established=True, network_lock=method)
        workload.check()


@pytest.mark.parametrize("method", ["nftables", "iptables"])
def test_a_lock_in_a_network_that_is_shared_goes_again(method: str, tmp_path: Path) -> None:
    needs("nft", "iptables", "iptables-legacy-save")
    before = rules_here()
    with Workload("inet_sockets", tmp_path) as workload:
        workload.dump(leave_running=True, tcp_established=True, network_lock=method)
        assert rules_here() == before
        workload.cycle(tcp_established=True, network_lock=method)
    assert rules_here() == before


def test_tasks_that_go_on_do_not_meet_the_lock(tmp_path: Path) -> None:
    with Workload("talker", tmp_path, prefix=unshare("net")) as workload:
        for _ in range(3):
            workload.dump(leave_running=True)
        workload.check()
