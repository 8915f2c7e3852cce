"""Everything at once, frozen and thawed many times in a row: nothing drifts (`--rounds N`, 10 by default)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cr.harness import Workload

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAMESPACES = [
    "unshare", "--pid", "--fork", "--ipc", "--uts", "--net", "--cgroup",
    "sh", "-c", 'ip link set lo up && exec setsid "$@" >said 2>&1', "sh",
]  # fmt: skip


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rounds"))


def snapshot(root: int) -> dict[int, dict[str, Any]]:
    """For each task by its innermost pid: its descriptors, mappings and threads."""
    return {inner_id(f"/proc/{pid}"): of_task(pid) for pid in tree(root)}


def tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def inner_id(directory: str) -> int:
    return int(re.findall(r"NSpid:.*?(\d+)\n", Path(directory, "status").read_text())[0])


def of_task(pid: int) -> dict[str, Any]:
    place = f"/proc/{pid}"
    threads = [f"{place}/task/{tid}" for tid in os.listdir(f"{place}/task")]
    return {
        "descriptors": {int(fd): descriptor(place, fd) for fd in os.listdir(f"{place}/fd")},
        "mappings": [mapping(line) for line in Path(place, "maps").read_text().splitlines()],
        "threads": {inner_id(thread): Path(thread, "comm").read_text() for thread in threads},
        "state": Path(place, "stat").read_text().rpartition(")")[2].split()[0] == "Z",
    }


def descriptor(place: str, fd: str) -> tuple[str, str]:
    """What it leads to, without numbers that are made anew; and its flags."""
    flags = re.findall(r"flags:\s+(\d+)", Path(place, "fdinfo", fd).read_text())
    return re.sub(r"\[\d+\]", "[]", os.readlink(f"{place}/fd/{fd}")), flags[0]


def mapping(line: str) -> tuple[str, ...]:
    """Range, rights, offset and path; not the inode."""
    words = line.split(maxsplit=5)
    return (*words[:3], words[5] if len(words) > 5 else "")


def cycles(workload: Workload, rounds: int) -> None:
    first = snapshot(workload.pid)
    assert len(first) == 3, first.keys()  # the root, its child and a zombie
    for number in range(rounds):
        workload.dump()
        root = workload.restore()
        assert snapshot(root) == first, f"round {number + 1}"
    workload.check()


@pytest.mark.timeout(1200)
def test_on_the_host(tmp_path: Path, rounds: int) -> None:
    with Workload("mixed", tmp_path) as workload:
        cycles(workload, rounds)


@pytest.mark.timeout(1200)
def test_in_new_namespaces(tmp_path: Path, rounds: int) -> None:
    with Workload("mixed", tmp_path, prefix=NAMESPACES) as workload:
        cycles(workload, rounds)
