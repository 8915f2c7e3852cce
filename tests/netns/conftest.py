"""Network namespaces of a test's own; their links vanish with them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from netns.enter import run_in

Shell = Callable[[int | None, str], str]


@pytest.fixture
def namespace() -> Iterator[Callable[[], int]]:
    """Makes empty namespaces; gives a descriptor each."""
    keepers: list[subprocess.Popen[bytes]] = []
    fds: list[int] = []

    def make() -> int:
        keeper = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 300"], stdout=subprocess.PIPE)
        keepers.append(keeper)
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"\n", "unshare -n failed"
        keeper.stdout.close()
        fds.append(os.open(f"/proc/{keeper.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)
    for keeper in keepers:
        keeper.kill()
        keeper.wait(10)


@pytest.fixture
def shell() -> Shell:
    """Runs a script in a namespace and gives its output."""

    def run(fd: int | None, script: str) -> str:
        def inside() -> str:
            result = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, timeout=30, check=False)
            assert result.returncode == 0, result.stderr
            return result.stdout

        return run_in(fd, inside)

    return run


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Polls a condition for at most ten seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "it did not come about in ten seconds"
            time.sleep(0.005)

    return wait
