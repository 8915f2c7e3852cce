"""State of tasks and threads comes back: signals, timers, credentials, limits, filters, calls under way, families."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cr
from images.directory import ImageDirectory
from tests.cr.harness import PYTHON, Workload, alive, wait_for

pytestmark = pytest.mark.root
STATES = ["signals", "many_signals", "overruns", "attributes", "credentials", "filters", "calls", "tree", "main_exits"]


@pytest.mark.parametrize("name", STATES)
def test_state(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.cycle()


@pytest.mark.parametrize("name", STATES)
def test_state_is_left_alone(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.dump(leave_running=True)
        workload.check()


@pytest.mark.parametrize("name", STATES)
def test_state_survives_two_rounds(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.dump()
        workload.restore()
        workload.cycle()


NEW_PID_NAMESPACE = ["unshare", "--pid", "--fork"]
QUIETLY = ["sh", "-c", 'exec setsid "$@" >/dev/null 2>&1', "sh"]
ALONE = "for m in $(cut -d' ' -f5 /proc/self/mountinfo | grep -E '^(/var)?/tmp/' | tac); do umount -l $m; done; "
"""Other tests mount and unmount things below /tmp meanwhile; this namespace is to have none of them."""


def inner_root(workload: Workload) -> int:
    """The process whose parent is unshare(1): the first one of its pid namespace."""
    assert workload.process is not None
    outer = workload.process.pid
    return int(Path(f"/proc/{outer}/task/{outer}/children").read_text())


@pytest.mark.parametrize("name", ["signals", "overruns", "filters", "tree", "main_exits"])
def test_state_in_a_container(name: str, tmp_path: Path) -> None:
    prefix = [*NEW_PID_NAMESPACE, "--mount", "--ipc", "--uts", "--mount-proc", "sh", "-c", ALONE + QUIETLY[2], "sh"]
    with Workload(name, tmp_path, prefix=prefix) as workload:
        workload.pid = inner_root(workload)
        workload.dump(root="/")
        workload.restore(root="/")
        workload.check()


@pytest.mark.parametrize(("name", "more"), [("attributes", ["--user", "--map-root-user"]), ("credentials", [])])
def test_state_in_a_user_and_a_pid_namespace(name: str, more: list[str], tmp_path: Path) -> None:
    with Workload(name, tmp_path, prefix=[*NEW_PID_NAMESPACE, *more, *QUIETLY]) as workload:
        workload.pid = inner_root(workload)
        workload.dump()
        workload.restore()
        workload.check()


def test_the_root_can_be_a_sibling_of_the_engine(tmp_path: Path) -> None:
    with Workload("tree", tmp_path) as workload:
        workload.dump()
        command = [sys.executable, "-m", "cr.cli", "restore", "-D", str(workload.images), "-d", "--restore-sibling"]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=60)
        workload.restored = workload.pid
        assert alive(workload.pid)
        parent = Path(f"/proc/{workload.pid}/stat").read_text().rpartition(")")[2].split()[1]
        assert parent == str(os.getpid())
        workload.check()


def test_a_process_with_one_thread_sleeps_on_for_the_rest(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True, stdin=subprocess.DEVNULL) as process:
        try:
            call = Path(f"/proc/{process.pid}/syscall")
            wait_for(lambda: call.read_text().startswith("230 "), "it to sleep")
            cr.dump(process.pid, str(tmp_path / "images"), leave_running=True)
        finally:
            process.kill()
    with ImageDirectory.open(tmp_path / "images") as images:
        (entry,) = images.read("woodfrog-task", process.pid)
    assert 900e9 < entry.sleep.remaining < 1000e9


POLL = "import ctypes; ctypes.CDLL(None).poll(None, 0, 1000000)"


def test_the_rest_of_a_timeout_is_known(tmp_path: Path) -> None:
    began = time.monotonic()
    with subprocess.Popen([PYTHON, "-c", POLL], start_new_session=True, stdin=subprocess.DEVNULL) as process:
        try:
            place = Path(f"/proc/{process.pid}/wchan")
            wait_for(lambda: "poll" in place.read_text(), "it to poll")
            asleep = time.monotonic()
            wait_for(lambda: time.monotonic() > asleep + 0.1, "a time that is longer than the scheduler's tick")
            cr.dump(process.pid, str(tmp_path / "first"), leave_running=True)
            middle = time.monotonic()
        finally:
            process.kill()
    with ImageDirectory.open(tmp_path / "first") as images:
        (entry,) = images.read("woodfrog-task", process.pid)
    assert 1000 - (middle - began) <= entry.sleep.remaining / 1e9 <= 1000
    assert entry.sleep.call == 7
