"""The process that restores is killed before and after every single thing that it does at the end: all or nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cr.kernel import proc, ptrace
from cr.options import Options
from cr.restore import deaths, flow
from tests.cr.harness import Workload, alive, wait_for
from tests.cr.test_freeze import traced
from tests.cr.test_holder_killed import Fault

pytestmark = pytest.mark.root

PF_EXITING = 4  # of the flags in /proc/PID/stat
FLAVOURS = {
    "host": [],
    "pid namespace": ["unshare", "--pid", "--fork", "sh", "-c", 'exec setsid "$@" >said 2>&1', "sh"],
}


def restore_and_die(work: Workload, at: int, where: tuple[object, str]) -> str:
    """Restore in a child that is killed at fault point `at` of that function, which is given the context or a builder:
    which point it was, "" where there is none so late."""
    record = work.directory / "fault"
    record.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            original, fault = getattr(*where), Fault(at, record)

            def hooked(*arguments: Any) -> None:
                context = getattr(arguments[-1], "context", arguments[-1])
                puppets = [task.puppet.tid for task in context.live_tasks]
                (work.directory / "puppets").write_text(" ".join(map(str, puppets)))
                fault.install()
                original(*arguments)
                fault.remove()

            setattr(*where, hooked)
            flow.restore(Options(images_dir=str(work.images)))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the restore failed with {status:#x}"
    return record.read_text() if status else ""


def puppets(work: Workload) -> list[int]:
    """Our pids of the tasks of the latest restore."""
    return [int(word) for word in (work.directory / "puppets").read_text().split()]


def survivors(pids: list[int]) -> list[int]:
    return [pid for pid in pids if alive(pid)]


def gone(pids: list[int]) -> bool:
    return not survivors(pids)


def settled(pids: list[int]) -> bool:
    """Whether everybody is gone, or sleeps as it did before: nobody's tracee, and not on the way out."""
    return all(asleep(pid) for pid in survivors(pids))


def asleep(pid: int) -> bool:
    try:
        stat = proc.stat(pid)
        return stat.state == "S" and not stat.flags & PF_EXITING and not traced(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_all_live_or_none(flavour: str, tmp_path: Path) -> None:
    """On the host, the moment in which the switch is thrown for one task after the other is
    the exception (LIMITS.md); in a pid namespace there is none."""
    with Workload("cow", tmp_path, prefix=FLAVOURS[flavour]) as work:
        work.dump()
        at, found = 0, []
        while point := restore_and_die(work, at := at + 1, (flow.Builder, "resume")):
            pids = puppets(work)
            wait_for(partial(settled, pids), f"the tasks to be let go after {point}")
            left = survivors(pids)
            switching = point == f"before ptrace {ptrace.SETOPTIONS}" and at > 1 and flavour == "host"
            assert switching or left in ([], pids), f"{left} of {pids} live after point {at}, {point}"
            found.append(len(left))
            end(work, pids)
        assert found[0] == 0 and found[-1] == len(pids), found
        work.restored = puppets(work)[0]
        work.check()


def end(work: Workload, pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(partial(gone, pids), "the tasks to be gone")


def test_a_task_that_has_stopped_again_goes_too(tmp_path: Path) -> None:
    """It is no longer traced then."""
    with Workload("tree", tmp_path) as work:
        work.dump()
        at = 0
        while point := restore_and_die(work, at := at + 1, (deaths, "stop_again")):
            pids = puppets(work)
            wait_for(partial(gone, pids), f"all to be gone after point {at}, {point}")
