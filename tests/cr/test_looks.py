"""What is looked at before the freeze is trusted after it only where nothing has changed."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from cr.contract.dumping import DumpTask
from cr.dump import drafts, foresight
from cr.dump.looks import Looks
from cr.dump.open_files import open_file
from cr.kernel import batch, proc
from tests.cr.harness import Workload, wait_for

pytestmark = pytest.mark.root


@pytest.mark.parametrize("when", ["pre-dump", "query-ext-files"])
def test_everything_changes_right_before_the_freeze(when: str, tmp_path: Path) -> None:
    """At the second moment the tasks are frozen: then it is too late, and all is as it was."""
    with Workload("changing", tmp_path) as workload:
        told: list[str] = []

        def notify(event: str, *_: Any) -> None:
            if event == when and event not in told:
                told.append(event)
                os.kill(workload.pid, signal.SIGUSR1)
                if when == "pre-dump":
                    wait_for((tmp_path / "changed").exists, "the changes")

        workload.dump(notify=notify, file_locks=True)
        assert told
        workload.restore(file_locks=True)
        wait_for((tmp_path / "changed").exists, "the changes")
        workload.check()


def test_what_has_not_changed_is_not_looked_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process that dumps, hence by what it writes."""
    used = tmp_path / "used"
    finish, recall = drafts.Drafts.of_descriptor, foresight.Foresight.recall

    def of_descriptor(self: drafts.Drafts, task: DumpTask, fd: int) -> drafts.Draft | None:
        found = finish(self, task, fd)
        with used.open("a") as file:
            print(found.file.link if found else f"{fd} is none", file=file)
        return found

    def recalled(self: foresight.Foresight, task: DumpTask) -> None:
        assert "mappings" not in vars(task)
        recall(self, task)
        with used.open("a") as file:
            print("mappings" in vars(task), file=file)

    monkeypatch.setattr(drafts.Drafts, "of_descriptor", of_descriptor)
    monkeypatch.setattr(foresight.Foresight, "recall", recalled)
    with Workload("changing", tmp_path) as workload:
        workload.dump()
        lines = used.read_text().splitlines()
        assert "True" in lines
        assert {str(tmp_path / name) for name in ("same", "grown", "flags")} <= set(lines)


@pytest.mark.parametrize("options", [{"leave_running": True, "track_mem": True, "snapshot": "never"}, {}], ids=str)
def test_nothing_of_ours_is_taken_for_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    """The dump would begin again."""
    with Workload("changing", tmp_path) as workload:
        for _ in range(2):
            told: list[str] = []
            workload.dump(notify=lambda event, *_, told=told: told.append(event), **options)
            assert told.count("pre-dump") == 1
            if not options:
                break


def test_a_look_at_a_descriptor_that_is_closed_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    held = [os.open(tmp_path / "file", os.O_RDONLY) for _ in range(3)]
    task = DumpTask(os.getpid(), 1, 0, 0, 0, proc.stat("self"), None)
    looks = Looks(task)
    found = [looks.at_descriptor(open_file(task, fd)) for fd in held]
    assert None not in found
    os.close(held[1])
    before = os.listdir("/proc/self/fd")
    assert [look is not None and looks.is_same(look) for look in found] == [True, False, True]
    assert os.listdir("/proc/self/fd") == before


def test_a_batch_stops_at_what_is_not_expected() -> None:
    calls = batch.Batch()
    pid = os.getpid()
    for expected in (pid, batch.ANY, pid + 1, pid):
        calls.call(39, expect=expected)  # getpid
    assert [calls.run(), calls.run(3), calls.run()] == [2, 4, 2]
    assert calls.result(1) == pid
    failing = batch.Batch()
    failing.call(3, 0xFFFFFFFF, expect=batch.ANY)  # close
    assert failing.run() == 0
    assert failing.result(0) == -9
    assert batch.Batch().run() == 0


def test_results_are_passed_on(tmp_path: Path) -> None:
    calls = batch.Batch()
    path = os.fsencode(tmp_path / "file") + b"\0"
    fd = calls.call(2, path, os.O_RDWR | os.O_CREAT, 0o600, expect=batch.ANY)
    calls.call_on(fd, 1, b"content", 7, expect=7)
    calls.call_on(fd, 3, expect=0)
    assert calls.run() == 3
    assert (tmp_path / "file").read_bytes() == b"content"
