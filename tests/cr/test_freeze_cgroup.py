"""--freeze-cgroup: trees in a cgroup that is frozen for the dump, with the freezers of both versions."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cgroups.errors import CgroupError
from cr.dump.freeze import FrozenTree
from cr.kernel import proc
from tests.cr.harness import Workload, wait_for
from tests.cr.test_freeze import SPAWNS, running, state

pytestmark = pytest.mark.root


class Group:
    """A cgroup with a freezer, of either version."""

    def __init__(self, version: int) -> None:
        base = {1: Path("/sys/fs/cgroup/freezer"), 2: _unified()}[version]
        if base is None or not base.is_dir():
            pytest.skip(f"this kernel lacks a freezer of cgroup v{version} that is mounted")
        self.path = base / f"woodfrog-test-{os.urandom(4).hex()}"
        self.file, self.words = {1: ("freezer.state", ("THAWED", "FROZEN")), 2: ("cgroup.freeze", ("0", "1"))}[version]
        self.path.mkdir()

    def add(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    @property
    def frozen(self) -> bool:
        return (self.path / self.file).read_text().strip() == self.words[1]

    def set(self, frozen: bool) -> None:
        (self.path / self.file).write_text(self.words[frozen])


def _unified() -> Path | None:
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return next((Path(words[1]) for words in lines if words[2] == "cgroup2"), None)


@contextmanager
def freezer_group(version: int = 1) -> Iterator[Group]:
    group = Group(version)
    try:
        yield group
    finally:
        group.set(False)
        wait_for(lambda: not (group.path / "cgroup.procs").read_text(), "the cgroup to be empty")
        group.path.rmdir()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("frozen_before", [False, True])
@pytest.mark.parametrize("workload", ["threads", "attributes"])
def test_a_cgroup_is_frozen_and_is_afterwards_what_it_was(
    workload: str, frozen_before: bool, version: int, tmp_path: Path
) -> None:
    with freezer_group(version) as group, Workload(workload, tmp_path) as work:
        group.add(work.pid)
        for child in Path(f"/proc/{work.pid}/task/{work.pid}/children").read_text().split():
            group.add(int(child))
        if frozen_before:
            group.set(True)
        work.dump(leave_running=True, freeze_cgroup=str(group.path), manage_cgroups="ignore")
        assert group.frozen == frozen_before
        group.set(False)
        work.check()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mode", ["ignore", "soft"])
def test_a_tree_of_a_frozen_cgroup_comes_back(mode: str, version: int, tmp_path: Path) -> None:
    with freezer_group(version) as group, Workload("threads", tmp_path) as work:
        group.add(work.pid)
        work.dump(freeze_cgroup=str(group.path), manage_cgroups=mode)
        assert not group.frozen
        work.restore(manage_cgroups=mode)
        inside = str(work.restored) in (group.path / "cgroup.procs").read_text().split()
        assert inside == (mode == "soft")
        work.check()


@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroup_that_somebody_has_frozen_is_thawed_when_nobody_is_left(version: int, tmp_path: Path) -> None:
    """Or the restore, which puts its tasks there, would be stopped by it."""
    with freezer_group(version) as group, Workload("threads", tmp_path) as work:
        group.add(work.pid)
        group.set(True)
        work.dump(freeze_cgroup=str(group.path), manage_cgroups="soft")
        assert not group.frozen
        work.restore(manage_cgroups="soft")
        work.check()


@pytest.mark.parametrize("version", [1, 2])
def test_others_in_a_frozen_cgroup_stay_frozen(version: int, tmp_path: Path) -> None:
    with freezer_group(version) as group, sleeper_in(group), Workload("threads", tmp_path) as work:
        group.add(work.pid)
        group.set(True)
        work.dump(freeze_cgroup=str(group.path), manage_cgroups="soft")
        assert group.frozen
        with pytest.raises(CgroupError, match="is frozen, and tasks are to be put into it: thaw it first"):
            work.restore(manage_cgroups="soft")
        group.set(False)
        work.restore(manage_cgroups="soft")
        work.check()


@contextmanager
def sleeper_in(group: Group) -> Iterator[None]:
    with subprocess.Popen(["sleep", "1000"]) as other:
        group.add(other.pid)
        try:
            yield
        finally:
            other.kill()
            group.set(False)


@pytest.mark.parametrize("version", [1, 2])
def test_a_stopped_task_in_a_frozen_cgroup(version: int, tmp_path: Path) -> None:
    with freezer_group(version) as group, Workload("threads", tmp_path) as work:
        group.add(work.pid)
        os.kill(work.pid, signal.SIGSTOP)
        wait_for(lambda: state(work.pid) == "T", "the stop")
        work.dump(leave_running=True, freeze_cgroup=str(group.path), manage_cgroups="ignore")
        wait_for(lambda: state(work.pid) == "T", "it to be stopped again")
        os.kill(work.pid, signal.SIGCONT)
        work.check()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("frozen_before", [False, True])
def test_a_cgroup_is_what_it_was_when_the_dump_is_killed(frozen_before: bool, version: int, tmp_path: Path) -> None:
    with freezer_group(version) as group, Workload("threads", tmp_path) as work:
        group.add(work.pid)
        group.set(frozen_before)
        killed = os.fork()
        if killed == 0:
            tree = FrozenTree(work.pid, time.monotonic() + 5, str(group.path))
            with tree._cgroup_frozen():
                group.set(not frozen_before)
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(killed, 0)
        wait_for(lambda: group.frozen == frozen_before, "the cgroup to be what it was")
        group.set(False)


@pytest.mark.parametrize("version", [1, 2])
def test_a_vfork_child_that_is_stopped_with_its_parent_goes_on(version: int, tmp_path: Path) -> None:
    """The cgroup is frozen between vfork(2) and exec: nobody would ever stop, if the child did not go on to exec."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    with freezer_group(version) as group, running(SPAWNS, fifo) as pid:
        wait_for(lambda: state(pid) == "D", "the vfork")
        (child,) = proc.children(pid)
        group.add(pid)
        group.add(child)
        writer = threading.Timer(0.3, os.open, (fifo, os.O_WRONLY))
        writer.start()
        tree = FrozenTree(pid, time.monotonic() + 10, freezer=str(group.path))
        tree.freeze()
        assert list(tree.tasks) == [pid, child]
        assert tree.tasks[child].stat.comm == "sleep"
        tree.release()
        wait_for(lambda: state(child) == "S", "it to go on")
        writer.join()
