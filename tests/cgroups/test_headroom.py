"""How much more memory a task may take."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

import cgroups
from cgroups.headroom import headroom

pytestmark = pytest.mark.root
LIMIT = 100 << 20


def test_up_to_the_lowest_limit(manager: cgroups.Manager, sleeper: Callable[[], subprocess.Popen[bytes]]) -> None:
    if cgroups.layout().holding("memory") is None:
        pytest.skip("this kernel lacks the cgroup controller memory")
    task = sleeper()
    outside = headroom(task.pid)
    manager.create()
    manager.apply({"memory": {"limit": LIMIT}})
    manager.attach(task.pid)
    inside = headroom(task.pid)
    assert inside is not None
    assert 0 < inside <= LIMIT
    assert outside is None or outside > inside
