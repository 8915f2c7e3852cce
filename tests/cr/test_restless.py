"""Trees that fork, map, thread and sleep all the time while they are dumped: nothing of it goes wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cr
from cr.dump.scout import tasks
from cr.kernel import proc
from tests.cr.harness import Workload, alive, wait_for
from tests.cr.test_freeze import traced

pytestmark = pytest.mark.root
NAMESPACES = ["unshare", "--pid", "--fork", "--ipc", "--uts", "--net", "sh", "-c", 'exec setsid "$@" >said 2>&1', "sh"]
WORKS = ("forks", "grandchildren", "spawns", "threads", "maps", "signals", "sleeps", "files")


@pytest.mark.parametrize("name", WORKS)
def test_in_the_middle_of_it(name: str, tmp_path: Path) -> None:
    with Workload("restless", tmp_path, [name]) as workload:
        for _ in range(3):
            workload.dump()
            workload.restore()
        workload.check()


@pytest.mark.parametrize("name", ["threads", "forks", "maps"])
def test_pre_dumps_in_the_middle_of_it(name: str, tmp_path: Path) -> None:
    with Workload("restless", tmp_path, [name]) as workload:
        for _ in range(3):
            cr.pre_dump(workload.restored or workload.pid, str(tmp_path / "first"), track_mem=True)
            workload.dump(prev_images_dir="../first")
            workload.restore()
        workload.check()


def test_a_thread_ends_while_the_tree_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is seen all the same, with the children of its other threads."""
    threads = proc.threads
    with subprocess.Popen(["sleep", "1000"]) as child:
        monkeypatch.setattr(proc, "threads", lambda pid: [*threads(pid), 1 << 22])
        seen = [task.pid for task in tasks(os.getpid())]
        child.kill()
    assert seen[0] == os.getpid()
    assert child.pid in seen


@pytest.mark.parametrize("user", [[], ["--user", "--map-root-user"]], ids=["namespaces", "user-namespace"])
def test_all_in_new_namespaces(user: list[str], tmp_path: Path) -> None:
    with Workload("restless", tmp_path, prefix=[NAMESPACES[0], *user, *NAMESPACES[1:]]) as workload:
        for _ in range(3):
            workload.dump()
            workload.restore()
        workload.check()


def tree(pid: int) -> list[int]:
    """Live processes of the tree; those that end while we look are left out."""
    found = [pid]
    for each in found:
        try:
            for tid in os.listdir(f"/proc/{each}/task"):
                found += map(int, Path(f"/proc/{each}/task/{tid}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [each for each in found if alive(each)]


def let_go(pid: int) -> bool:
    for each in tree(pid):
        try:
            if traced(each):
                return False
        except (FileNotFoundError, ProcessLookupError):
            continue
    return True


@pytest.mark.parametrize("round", range(8))
def test_the_engine_is_killed_at_any_moment(round: int, tmp_path: Path) -> None:
    chance = random.Random(round)
    with Workload("restless", tmp_path) as workload:
        for _ in range(3):
            command = [sys.executable, "-m", "cr.cli", "dump", "--tree", str(workload.pid), "--leave-running"]
            command += ["--images-dir", str(workload.images), "--log-file", str(tmp_path / "dump.log")]
            workload.images.mkdir(exist_ok=True)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
                time.sleep(chance.uniform(0.05, 0.6))  # the kill comes when it comes
                engine.send_signal(signal.SIGKILL)
            wait_for(lambda: let_go(workload.pid), "the tasks to be let go")
        workload.check()


@pytest.mark.parametrize("round", range(4))
def test_a_restore_is_killed_at_any_moment(round: int, tmp_path: Path) -> None:
    chance = random.Random(round)
    with Workload("restless", tmp_path) as workload:
        workload.dump()
        files = sorted(os.listdir(tmp_path))
        for _ in range(4):
            command = [sys.executable, "-m", "cr.cli", "restore", "--images-dir", str(workload.images)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as engine:
                time.sleep(chance.uniform(0.1, 0.5))  # the kill comes when it comes
                engine.send_signal(signal.SIGKILL)
            if lives_on(workload.pid):
                workload.restored = workload.pid  # the restore was complete
                break
            wait_for(lambda: sorted(os.listdir(tmp_path)) == files, "files that were made to be gone")
        if not workload.restored:
            workload.restore()
        workload.check()


def lives_on(pid: int) -> bool:
    try:
        wait_for(lambda: not alive(pid), "its end", 2)
    except AssertionError:
        return True
    return False
