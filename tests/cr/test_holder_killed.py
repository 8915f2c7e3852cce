"""The process that holds the frozen tasks is killed before and after every single thing that it does to them."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from pathlib import Path
from typing import Any

import pytest

from cr.dump import flow, predump, preload
from cr.kernel import ptrace, vm
from cr.options import Options
from cr.values import replace
from tests.cr.harness import Workload, alive, wait_for
from tests.cr.test_freeze import traced

pytestmark = pytest.mark.root

ACTS = frozenset({
    *(ptrace.SEIZE, ptrace.INTERRUPT, ptrace.CONT, ptrace.SYSCALL, ptrace.DETACH),
    *(ptrace.SETREGSET, ptrace.SETSIGMASK, ptrace.SETOPTIONS),
})  # fmt: skip
RESUMES = frozenset({ptrace.CONT, ptrace.SYSCALL, ptrace.DETACH})
SCRATCH = " rwxp 00000000 00:00 0"
"""what scratch memory looks like in /proc/PID/maps: left behind where a program was under way"""


class Fault:
    """Stands before the system calls that act on tasks; kills this process at fault point number `at`."""

    def __init__(self, at: int, record: Path) -> None:
        self.at, self.count, self.record = at, 0, record
        self.kernel = ptrace.syscall

    def install(self) -> None:
        ptrace.syscall = vm.syscall = self  # type: ignore[attr-defined]

    def remove(self) -> None:
        ptrace.syscall = vm.syscall = self.kernel  # type: ignore[attr-defined]

    def _point(self, name: str) -> None:
        self.count += 1
        if self.count == self.at:
            self.record.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, name: str, number: int, *words: Any) -> int:
        request = words[0] if name == "ptrace" else None
        acts = request in ACTS or name == "process_vm_writev"
        if acts:
            self._point(f"before {name} {request}")
        result = self.kernel(name, number, *words)
        if request in RESUMES:
            self._point(f"after {name} {request}")
        return result


def dump_and_die(work: Workload, at: int, how: str) -> str:
    """Dump in a child that is killed at that point: which one it was, "" where there is none so late."""
    record = work.directory / "fault"
    record.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Fault(at, record).install()
            dump(work, how)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the dump failed with {status:#x}"
    return record.read_text() if status else ""


def dump(work: Workload, how: str) -> None:
    options = Options(tree=work.pid, images_dir=str(work.images), leave_running=True)
    if how == "pre-dump":
        predump.pre_dump(replace(options, track_mem=True))
    else:
        flow.dump(replace(options, snapshot="always" if how == "snapshot" else "never"))


def tree(pid: int) -> list[int]:
    return [each for each in offspring(pid) if alive(each)]


def offspring(pid: int) -> list[int]:
    """With zombies."""
    found = [pid]
    for each in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a zombie that was reaped just now
            for tid in os.listdir(f"/proc/{each}/task"):
                found += map(int, Path(f"/proc/{each}/task/{tid}/children").read_text().split())
    return found


def signals(pid: int) -> list[str]:
    """What each thread blocks and what waits for it."""
    text = "".join(
        Path(f"/proc/{pid}/task/{tid}/status").read_text() for tid in sorted(os.listdir(f"/proc/{pid}/task"))
    )
    return [line for line in text.splitlines() if line.startswith(("SigBlk", "SigPnd", "ShdPnd"))]


def mappings(pid: int) -> set[str]:
    return {line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "[stack]" not in line}


def state_of(pids: list[int]) -> list[list[str]]:
    return [signals(pid) for pid in pids if alive(pid)]


def at_rest(pids: list[int], everybody: list[int]) -> bool:
    """Whether these processes live, untraced, and there are no others but those zombies that were there before."""
    return offspring(pids[0]) == everybody and tree(pids[0]) == pids and not any(map(traced, pids))


CASES = [
    *(("dump", name) for name in ("signals", "filters", "threads", "coroutine")),
    *(("snapshot", name) for name in ("signals", "filters")),
    *(("pre-dump", name) for name in ("signals", "filters")),
]


@pytest.mark.parametrize(("how", "name"), CASES)
def test_the_workload_runs_on_whenever_the_holder_is_killed(how: str, name: str, tmp_path: Path) -> None:
    preload.preload()
    arguments = ["filters-only"] if name == "filters" else []
    with Workload(name, tmp_path, arguments) as work:
        work.images.mkdir()
        pids, everybody = tree(work.pid), offspring(work.pid)
        call = Path(f"/proc/{work.pid}/syscall")
        wait_for(lambda: call.read_text().startswith("128 "), "the workload to sit in sigwait, which changes its mask")
        before, mapped, files = state_of(pids), mappings(work.pid), os.listdir(f"/proc/{work.pid}/fd")
        at = 0
        while point := dump_and_die(work, at := at + 1, how):
            # a copy may also come into being now: by a program that goes on without us, and ends it at once
            wait_for(
                lambda: at_rest(pids, everybody), f"{pids} to be alone, let go and alive after point {at}, {point}"
            )
            wait_for(lambda: state_of(pids) == before, f"the signal masks after point {at}, {point}")
            wait_for(lambda: os.listdir(f"/proc/{work.pid}/fd") == files, f"its descriptors after point {at}, {point}")
            left = mapped ^ mappings(work.pid)
            assert all(SCRATCH in line for line in left), f"{left} after point {at}, {point}"
        work.check()
