"""Cgroups and tasks of a test's own, always removed."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

import cgroups

_numbers = itertools.count()


@pytest.fixture
def manager() -> Iterator[cgroups.Manager]:
    """A manager of a cgroup that is not there yet, in all hierarchies of this host."""
    made = cgroups.Manager(f"/woodfrog-test-{os.urandom(4).hex()}-{next(_numbers)}")
    yield made
    made.kill()
    made.delete()


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts tasks that sleep; they are killed and reaped at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "300"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
    for process in started:
        process.wait(10)
