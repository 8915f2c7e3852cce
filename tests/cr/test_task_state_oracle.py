"""Images of tasks both ways: what we dump, criu restores; what criu dumps, we restore."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.cr.harness import Workload, alive, wait_for

CRIU = os.environ.get("WOODFROG_TEST_CRIU", "")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not CRIU, reason="needs WOODFROG_TEST_CRIU, a criu to compare with"),
]
STATES = ["signals", "attributes", "filters"]
UNKNOWN_TO_CRIU = ["affinity", "timer slack", "I/O priority", "coredump filter"]
"""The images of criu have no place for these."""
IGNORED_BY_CRIU = [*UNKNOWN_TO_CRIU, "personality"]
"""It does not restore these."""


def session(sid: int) -> list[str]:
    """Processes of a session, zombies included."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats.append(path.read_text().rpartition(")")[2].split())
    return [fields[3] for fields in stats if fields[3] == str(sid)]


def criu(action: str, work: Workload, *arguments: str) -> None:
    log = work.directory / f"{action}.log"
    command = [CRIU, action, "-D", str(work.images), "-v4", "-o", str(log), *arguments]
    code = subprocess.run(command, timeout=60, cwd=work.directory, check=False, stderr=subprocess.DEVNULL).returncode
    errors = [line for line in log.read_text().splitlines() if "Error" in line]
    assert code == 0, "\n".join(errors)


@pytest.mark.parametrize("name", [*STATES, "calls"])
def test_criu_restores_our_images(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path, IGNORED_BY_CRIU) as work:
        work.dump()
        wait_for(lambda: not session(work.pid), "the last of the tree to be reaped: its pid is in use until then")
        criu("restore", work, "-d", "--restore-sibling")
        work.restored = work.pid
        work.check()


@pytest.mark.parametrize("name", STATES)
def test_we_restore_images_of_criu(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path, UNKNOWN_TO_CRIU) as work:
        work.images.mkdir()
        criu("dump", work, "-t", str(work.pid))
        wait_for(lambda: not alive(work.pid), "the dumped tree to be gone")
        assert work.process is not None
        work.process.wait(10)
        work.restore()
        work.check()
