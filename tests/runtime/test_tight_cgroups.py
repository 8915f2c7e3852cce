"""Containers that have used up what their cgroup grants: frozen and thawed without a process or a page more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle, wait_for
from tests.runtime.freezing import count, cycle, start

pytestmark = pytest.mark.root

PROGRAM = """
import os, threading, time
for _ in range(2):
    if os.fork() == 0:
        time.sleep(1000)
for _ in range(2):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
{more}
number = 0
while True:
    number += 1
    with open("/tmp/count", "a") as file:
        print(number, file=file)
    time.sleep(0.03)
"""
PIDS = 5


def prepare(bundle: Bundle, more: str = "", **limits: object) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.config["process"]["args"] = ["/usr/bin/python3", "-c", PROGRAM.format(more=more)]
    bundle.config["linux"]["resources"] = limits


def cgroup_file(bundle: Bundle, *names: str) -> Path:
    """By its name in either version of cgroups."""
    return next(path / name for path in bundle.cgroups() for name in names if (path / name).exists())


def test_as_many_processes_as_are_allowed(bundle: Bundle) -> None:
    prepare(bundle, pids={"limit": PIDS})
    start(bundle)
    used = cgroup_file(bundle, "pids.current")
    wait_for(lambda: used.read_text() == f"{PIDS}\n", "all its processes")
    cycle(bundle, times=2)
    assert cgroup_file(bundle, "pids.current").read_text() == f"{PIDS}\n"
    assert cgroup_file(bundle, "pids.max").read_text() == f"{PIDS}\n"


def test_a_limit_that_came_later(bundle: Bundle) -> None:
    """`update` tells the kernel, not config.json: the images have it."""
    prepare(bundle)
    start(bundle)
    used = cgroup_file(bundle, "pids.current")
    wait_for(lambda: used.read_text() == f"{PIDS}\n", "all its processes")
    bundle.ok("update", "--pids-limit", str(PIDS), bundle.id)
    cycle(bundle, "--manage-cgroups-mode", "full", times=2)
    assert cgroup_file(bundle, "pids.max").read_text() == f"{PIDS}\n"


MIB = 1 << 20
FILL = f"""
memory = bytearray(48 * {MIB})
for place in range(0, len(memory), 4096):
    memory[place] = 7
"""


def test_nearly_as_much_memory_as_is_allowed(bundle: Bundle) -> None:
    prepare(bundle, FILL)
    start(bundle)
    used = cgroup_file(bundle, "memory.usage_in_bytes", "memory.current")
    limit = (int(used.read_text()) // MIB + 3) * MIB
    bundle.ok("update", "--memory", str(limit), bundle.id)
    cycle(bundle, times=2)
    assert int(used.read_text()) <= limit
    assert count(bundle)
