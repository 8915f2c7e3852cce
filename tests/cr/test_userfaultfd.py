"""userfaultfd(2): programs that handle page faults themselves, or those of others in the tree."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

import cr
from cr.contract.dumping import DumpTask
from cr.dump import user_faults
from cr.kernel import proc
from cr.model import BadImages, CheckpointError, Refused
from cr.resources.events import userfaultfd_build
from images import messages as m
from tests.cr.harness import Workload, alive, end_tree, wait_for
from tests.cr.test_lazy_pages import lazy_pages
from tests.cr.test_namespaces import unshare_fork

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    "prefix", [[], unshare_fork("pid", "mount", "uts", "ipc"), unshare_fork("user", "map-root-user", "pid")]
)
def test_ranges_pages_and_waiting_threads(prefix: list[str], tmp_path: Path) -> None:
    with Workload("page_faults", tmp_path, prefix=prefix) as workload:
        for _ in range(2):
            workload.dump()
            workload.restore()
        workload.check()


def test_whoever_handles_faults_is_left_unharmed(tmp_path: Path) -> None:
    with Workload("page_faults", tmp_path) as workload:
        for snapshot in ("never", "always"):
            workload.dump(leave_running=True, snapshot=snapshot)
        workload.check()


def test_the_copy_of_a_running_task_is_as_good(tmp_path: Path) -> None:
    with Workload("page_faults", tmp_path) as workload:
        workload.dump(leave_running=True, snapshot="always")
        end_tree(workload.pid)
        workload.restore()
        workload.check()


@pytest.mark.parametrize("arguments", [[], ["fork"], ["gone"]])
@pytest.mark.parametrize("prefix", [[], unshare_fork("pid")])
def test_faults_of_others(arguments: list[str], prefix: list[str], tmp_path: Path) -> None:
    with Workload("passed_faults", tmp_path, arguments, prefix=prefix) as workload:
        for _ in range(2):
            workload.dump()
            workload.restore()
        workload.check()


def test_faults_of_others_in_a_user_namespace(tmp_path: Path) -> None:
    with Workload("passed_faults", tmp_path, prefix=unshare_fork("user", "map-root-user", "pid")) as workload:
        workload.cycle()


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("outside", "a userfaultfd for the memory of a process that is not in the tree"),
        ("handed", "is registered with a userfaultfd(2) that nobody in the tree has"),
        ("unset", "not in use yet"),
    ],
)
def test_what_cannot_be_told_is_refused(argument: str, sentence: str, tmp_path: Path) -> None:
    with Workload("passed_faults", tmp_path, [argument]) as workload:
        with pytest.raises(Refused, match=re.escape(sentence)):
            workload.dump()
        assert alive(workload.pid)
        workload.check()


def test_a_report_of_forks_is_not_sent_for_ours(tmp_path: Path) -> None:
    with Workload("passed_faults", tmp_path, ["fork"]) as workload:
        workload.dump(leave_running=True, snapshot="always")
        workload.check()


def test_who_waits_too_long_in_the_kernel_is_named(tmp_path: Path) -> None:
    with Workload("passed_faults", tmp_path, ["kernel", "slow"]) as workload:
        with pytest.raises(
            CheckpointError, match=r"waits inside of the kernel, as it seems for whoever handles its page faults"
        ):
            workload.dump(timeout=1)
        workload.check()


def test_a_thread_that_cannot_run_is_refused(tmp_path: Path) -> None:
    with Workload("protected_thread", tmp_path) as workload:
        with pytest.raises(Refused, match=r"has its rseq\(2\) area in a page that is missing, or protected"):
            workload.dump()
        workload.check()


def test_who_waits_in_the_kernel_is_waited_for(tmp_path: Path) -> None:
    with Workload("passed_faults", tmp_path, ["kernel"]) as workload:
        workload.cycle()


def test_registered_memory_that_nobody_handles_is_refused_before_the_freeze() -> None:
    mapping = proc.Mapping(0x1000, 0x3000, "rw-p", 0, "00:00", 0, "", frozenset({"rd", "um"}))
    task = DumpTask(os.getpid(), 1, 0, 0, 0, proc.stat("self"), None)
    task.mappings = [mapping]
    (sentence,) = user_faults.objections([task])
    assert str(mapping) in sentence
    assert "that nobody in the tree has" in sentence
    task.mappings = []
    assert not list(user_faults.objections([task]))


def test_images_that_cannot_be() -> None:
    entry = m.woodfrog_userfaultfd_entry(id=1, flags=0, features=0, user_mode_only=False, owner=1)
    each = entry.range.add(start=0x10000, end=0x20000, modes=1, private=True)
    each.zero.add(start=0x10000, end=0x11000)
    userfaultfd_build.check(entry)
    for start, end in ((0x1F000, 0x21000), (0x12000, 0x12000), (0x10001, 0x11001)):
        torn = m.woodfrog_userfaultfd_entry()
        torn.CopyFrom(entry)
        torn.range[0].protected.add(start=start, end=end)
        with pytest.raises(BadImages, match="0x10000-0x20000"):
            userfaultfd_build.check(torn)
    entry.owner = 0
    with pytest.raises(BadImages, match="memory of nobody"):
        userfaultfd_build.check(entry)


@pytest.mark.parametrize("name", ["page_faults", "late_faults"])
def test_a_dump_after_a_pre_dump(name: str, tmp_path: Path) -> None:
    """What a program registers is not ours to track; nor is what it has not written unchanged for us."""
    with Workload(name, tmp_path) as workload:
        cr.pre_dump(workload.pid, str(tmp_path / "first"))
        if name == "late_faults":
            os.kill(workload.pid, signal.SIGUSR1)
            wait_for((tmp_path / "registered").exists, "the program to register its memory")
        workload.dump(prev_images_dir="../first", track_mem=True)
        workload.restore()
        workload.check()


def test_a_tracked_dump_that_goes_on(tmp_path: Path) -> None:
    with Workload("page_faults", tmp_path) as workload:
        for name, parent in (("first", ""), ("second", "../first")):
            cr.dump(workload.pid, str(tmp_path / name), prev_images_dir=parent, track_mem=True, leave_running=True)
        workload.check()


def test_a_lazy_restore_leaves_registered_memory_to_the_program(tmp_path: Path) -> None:
    with Workload("page_faults", tmp_path, prefix=unshare_fork("pid")) as workload:
        workload.dump()
        with lazy_pages(workload.images):
            workload.restore(lazy_pages=True)
            workload.check()


@pytest.mark.parametrize("arguments", [[], ["shared"]])
def test_huge_pages(arguments: list[str], tmp_path: Path) -> None:
    knob = Path("/proc/sys/vm/nr_hugepages")
    before = knob.read_text()
    knob.write_text(str(int(before) + 8))
    try:
        with Workload("huge_faults", tmp_path, arguments) as workload:
            workload.dump(leave_running=True)
            workload.cycle()
    finally:
        knob.write_text(before)
