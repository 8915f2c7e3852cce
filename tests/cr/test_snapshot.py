"""Dumps of tasks that run on while their memory is written from copies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cgroups
import cr
from cr.dump import snapshot
from tests.cr.harness import Workload, alive, end_tree, wait_for

pytestmark = pytest.mark.root


def tree(pid: int) -> list[int]:
    """The task and its children."""
    found = [pid]
    for each in found:
        for tid in os.listdir(f"/proc/{each}/task"):
            found += map(int, Path(f"/proc/{each}/task/{tid}/children").read_text().split())
    return found


def state(pid: int) -> list[Any]:
    """What a dump could leave behind."""
    fields = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    wait_for(lambda: not Path(f"/proc/{pid}/fd/3").exists(), "the workload to close what it said ready by")
    names = ("TracerPid", "SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd", "Seccomp")
    maps = [line.split()[0] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return [tree(pid), maps, sorted(os.listdir(f"/proc/{pid}/fd")), *(fields[name] for name in names)]


def taken(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Path:
    """A file that gets a line for each copy that is made (in the process that holds the tasks)."""
    record = directory / "copies"
    record.touch()
    fork = snapshot.Copies._fork

    def noted(self: snapshot.Copies, *arguments: Any) -> snapshot.Copy:
        copy = fork(self, *arguments)
        with record.open("a") as file:
            file.write(f"{copy.task.pid} {copy.pid}\n")
        return copy

    monkeypatch.setattr(snapshot.Copies, "_fork", noted)
    return record


def swap(work: Workload) -> None:
    """End the original, restore the images."""
    end_tree(work.pid)
    assert work.process is not None
    work.process.wait()
    work.restore()


@pytest.mark.parametrize("arguments", [["64"], ["64", "huge"], ["64", "children"]])
def test_what_is_written_is_the_memory_of_one_moment(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = taken(monkeypatch, tmp_path)
    with Workload("busy", tmp_path, arguments) as work:
        before = state(work.pid)
        work.dump(leave_running=True)
        assert len(record.read_text().splitlines()) == (3 if "children" in arguments else 1)
        assert state(work.pid) == before
        swap(work)
        work.check()


def test_the_original_notices_nothing(tmp_path: Path) -> None:
    with Workload("busy", tmp_path, ["32", "children"]) as work:
        for _ in range(3):
            work.dump(leave_running=True)
        work.check()


def test_the_first_process_of_a_pid_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies take ids there, and the zombies are taken by their ids there."""
    record = taken(monkeypatch, tmp_path)
    with Workload("busy", tmp_path, ["32", "children"], prefix=["unshare", "--pid", "--fork", "setsid"]) as work:
        before = state(work.pid)
        work.dump(leave_running=True)
        assert len(record.read_text().splitlines()) == 3
        assert state(work.pid) == before
        work.check()


def test_tracking_goes_with_it(tmp_path: Path) -> None:
    with Workload("busy", tmp_path, ["32"]) as work:
        cr.pre_dump(work.pid, str(tmp_path / "first"))
        work.dump(leave_running=True, track_mem=True, prev_images_dir="../first")
        cr.dump(work.pid, str(tmp_path / "last"), leave_running=True, prev_images_dir="../images")
        end_tree(work.pid)
        assert work.process is not None
        work.process.wait()
        work.restored = cr.restore(str(tmp_path / "last")).pid
        work.check()


def test_small_trees_are_written_while_they_stand_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = taken(monkeypatch, tmp_path)
    with Workload("processes", tmp_path) as work:
        work.dump(leave_running=True)
        assert not record.read_text()
        work.dump(leave_running=True, snapshot="always")
        assert record.read_text()
        work.check()


def test_a_task_that_cannot_be_forked_is_written_while_it_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cgroups.layout().holding("pids") is None:
        pytest.skip("this kernel lacks the cgroup controller pids")
    record = taken(monkeypatch, tmp_path)
    manager = cgroups.Manager(f"/woodfrog-test-pids-{os.getpid()}-{os.stat(tmp_path).st_ino}")
    try:
        with Workload("busy", tmp_path, ["32"]) as work:
            manager.create()
            manager.apply({"pids": {"limit": 1}})
            manager.attach(work.pid)
            before = state(work.pid)
            work.dump(leave_running=True, manage_cgroups="ignore")
            assert not record.read_text()
            assert state(work.pid) == before
            swap(work)
            work.check()
    finally:
        manager.kill()
        manager.delete()


def test_the_visible_process_is_killed_while_there_are_copies(tmp_path: Path) -> None:
    with Workload("busy", tmp_path, ["64"]) as work:
        work.images.mkdir()
        before = state(work.pid)
        words = ["-t", str(work.pid), "-D", str(work.images), "-R"]
        for number in (signal.SIGKILL, signal.SIGTERM):
            dump = subprocess.Popen([sys.executable, "-m", "cr.cli", "dump", *words], stderr=subprocess.DEVNULL)
            wait_for(lambda: len(tree(work.pid)) > 1, "a copy")
            dump.send_signal(number)
            dump.wait()
            wait_for(lambda: state(work.pid) == before, "the task to be as it was")
        work.check()


def test_a_copy_that_is_lost_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the kernel when memory is short."""
    settle = snapshot.Copy.settle

    def kill(copy: snapshot.Copy) -> None:
        settle(copy)
        os.kill(copy.pid, signal.SIGKILL)

    monkeypatch.setattr(snapshot.Copy, "settle", kill)
    with Workload("busy", tmp_path, ["32"]) as work:
        before = state(work.pid)
        work.dump(leave_running=True)
        assert state(work.pid) == before
        swap(work)
        work.check()


def test_the_holder_is_killed_while_there_are_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cr.model import CheckpointError

    record = taken(monkeypatch, tmp_path)

    def die(self: snapshot.Copies) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with Workload("busy", tmp_path, ["32", "children"]) as work:
        before = state(work.pid)
        with monkeypatch.context() as patch:
            patch.setattr(snapshot.Copies, "write", die)
            with pytest.raises(CheckpointError, match="was killed"):
                work.dump(leave_running=True)
        copies = [int(line.split()[1]) for line in record.read_text().splitlines()]
        assert copies
        wait_for(lambda: not any(alive(copy) for copy in copies), "the copies to be killed")
        wait_for(lambda: tree(work.pid) == before[0], "their zombies to be taken")
        wait_for(lambda: state(work.pid) == before, "the task to be as it was")
        work.dump()
        work.restore()
        work.check()


def test_no_copies_where_the_cgroup_has_no_room_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cgroups

    hierarchy = cgroups.layout().holding("memory")
    if hierarchy is None:
        pytest.skip("this kernel lacks the cgroup controller memory")
    record = taken(monkeypatch, tmp_path)
    manager = cgroups.Manager(f"/woodfrog-test-room-{os.getpid()}-{os.stat(tmp_path).st_ino}")
    manager.create()
    place = manager.directory(hierarchy)
    inside = ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', place]
    try:
        with Workload("busy", tmp_path, ["32"], prefix=inside) as work:
            manager.apply({"memory": {"limit": 128 << 20}})
            work.dump(leave_running=True)
            assert record.read_text()
            record.write_text("")
            manager.apply({"memory": {"limit": 56 << 20}})
            work.dump(leave_running=True)
            assert not record.read_text()
            work.check()
    finally:
        manager.kill()
        manager.delete()
