"""What one engine dumps the other restores: files of every kind that both know."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from tests.cr.harness import Workload

CRIU = os.environ.get("WOODFROG_TEST_CRIU", "")
PR_SET_CHILD_SUBREAPER = 36
WORKLOADS = ["pipes", "events", "files", "locks", "memory_files", "processes", "memory_kinds aio-waiting"]

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not CRIU, reason="needs WOODFROG_TEST_CRIU, a criu to exchange images with"),
]


def criu(action: str, workload: Workload, *arguments: str) -> None:
    log = workload.images / f"{action}.log"
    command = [CRIU, action, "-D", str(workload.images), "-o", log.name, "-v4", "--file-locks", *arguments]
    done = subprocess.run(command, timeout=60, check=False)
    assert done.returncode == 0, "\n".join(line for line in log.read_text().splitlines() if "Error" in line)


@pytest.mark.parametrize("name", WORKLOADS)
def test_criu_dumps_and_we_restore(name: str, tmp_path: Path) -> None:
    with Workload(name.split()[0], tmp_path, [*name.split()[1:], "common"]) as workload:
        workload.images.mkdir()
        criu("dump", workload, "-t", str(workload.pid), "--link-remap")
        assert workload.process is not None
        workload.process.wait()
        workload.restore(file_locks=True)
        workload.check()


@pytest.mark.parametrize("name", WORKLOADS)
def test_we_dump_and_criu_restores(name: str, tmp_path: Path) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        with Workload(name.split()[0], tmp_path, [*name.split()[1:], "common"]) as workload:
            workload.dump(link_remap=True, file_locks=True)
            reap()
            criu("restore", workload, "-d")
            workload.restored = workload.pid
            workload.check()
    finally:
        reap()
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def reap() -> None:
    """The dead of the dump, whose pids criu needs at once."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return
