"""Containers created, frozen, thawed and deleted in parallel, while runtime processes are killed at random.

`--soak`: 50 containers, 10 rounds (some ten minutes); otherwise a few.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.bundle import wait_for
from tests.runtime.storm import Saboteur, Sailor, commands

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(3600)]


def traces() -> tuple[list[str], list[str], list[str]]:
    """What a leak would add to: mounts, links, and the names of all processes' programs that are not ours."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout)
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return mounts, sorted(link["ifname"] for link in links), rules.splitlines()


def test_fifty_containers_in_a_storm(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    count, rounds = (50, 10) if request.config.getoption("--soak") else (8, 2)
    before = traces()
    sailors = [Sailor(tmp_path, number) for number in range(count)]
    with ThreadPoolExecutor(count) as pool:
        for _ in range(rounds):
            with Saboteur(tmp_path, 0.8) as saboteur:
                list(pool.map(lambda sailor, by=saboteur: sailor.sail(by), sailors))
            tries = sum(sailor.tries for sailor in sailors)
            print(f"{tries} commands so far, {saboteur.kills.total()} kills in this round")
            assert saboteur.kills
            wait_for(lambda: not commands(str(tmp_path).encode()), "the commands to end")
            assert traces() == before
    for sailor in sailors:
        assert sorted(entry.name for entry in sailor.path.parent.iterdir()) == ["bundle", "images", "state"]
        assert sorted(entry.name for entry in sailor.path.iterdir()) == ["config.json", "errors", "rootfs"]
        assert not list(sailor.root.iterdir())
