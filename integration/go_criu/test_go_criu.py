"""go-criu's test programs, built as its Makefile does, with this engine as the criu that they find."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import shims
from integration.containers import PROJECT, alive, wait_for

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]
FEATURES = {f"CRIU_FEATURE_{name}": "1" for name in ("MEM_TRACK", "LAZY_PAGES", "PIDFD_STORE")}


@pytest.fixture
def programs() -> Path:
    """The directory with `test`, `piggie/piggie` and `phaul/phaul`."""
    return Path(shims.binary("WOODFROG_TEST_GO_CRIU", "the built program test in the directory test of go-criu")).parent


@pytest.fixture
def piggie(programs: Path) -> Iterator[int]:
    """The process that is dumped: a daemon, the first in a pid namespace of its own."""
    yield int(subprocess.run([programs / "piggie" / "piggie"], capture_output=True, check=True, timeout=60).stdout)
    for pid in piggies(programs):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not piggies(programs), "the process to end")


def piggies(programs: Path) -> list[int]:
    """Those that live, by any pid."""
    wanted = f"{programs}/piggie/piggie\0".encode()
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{name}/cmdline").read_bytes() == wanted and alive(int(name)):
                found.append(int(name))
    return found


def run(place: Path, *command: object) -> str:
    environment = {**shims.environment(PROJECT / ".pytest_cache" / "shim"), **FEATURES}
    done = subprocess.run(
        list(map(str, command)), env=environment, cwd=place, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_dump_and_restore(programs: Path, piggie: int, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert "TEST PRE DUMP" in run(tmp_path, programs / "test", "dump", piggie, "images")
    wait_for(lambda: not alive(piggie), "the dumped process to be gone")
    run(tmp_path, programs / "test", "restore", "images")
    assert len(piggies(programs)) == 1


def test_live_migration(programs: Path, piggie: int, tmp_path: Path) -> None:
    """Pre-dumps to a page server until little is left, then the rest, then a restore."""
    assert "SUCCESS" in run(tmp_path, programs / "phaul" / "phaul", piggie)
    assert len(piggies(programs)) == 1
