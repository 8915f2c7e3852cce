"""Single threads under ptrace(2): seized, told to stop, and why one does not."""

from __future__ import annotations

import os
import time

from cr.contract.dumping import DumpTask, DumpThread
from cr.dump import vfork
from cr.dump.context import inside_vdso
from cr.kernel import proc, ptrace
from cr.model import CheckpointError
from cr.remote.tracee import Tracee
from cr.values import replace

_WALL = 0x40000000
_NUDGES = 100


class WaitsInVfork(CheckpointError):
    """A task that cannot be stopped before its child has called exec or ended."""


def listed(task: DumpTask, leader_ended: bool, stopped: bool) -> set[int]:
    """Threads that /proc shows; a main thread that has exited stays there until all others have.

    In a frozen cgroup those that SIGSTOP holds are left out: ptrace(PTRACE_SEIZE) wakes such a thread and waits until
    it stands in a trap, but cgroup v1's freezer (v6.18, kernel/freezer.c) keeps it from getting there.
    """
    threads = set(proc.threads(task.tgid)) - ({task.tgid} if leader_ended else set())
    return threads if stopped else {tid for tid in threads if not _is_held_by_stop(tid)}


def answer_by_another(task: DumpTask) -> None:
    """The main thread has exited: /proc tells of the process under the tid of any other."""
    task.exited_main, task.main_status, task.pid = task.tgid, task.stat.exit_code, task.threads[0].tid
    task.stat = replace(proc.stat(task.pid), comm=task.stat.comm, exit_signal=task.stat.exit_signal)


def _is_held_by_stop(tid: int) -> bool:
    """By where it waits: its state says only that it is frozen."""
    try:
        return proc.read_text(tid, "wchan") == "do_signal_stop"
    except (FileNotFoundError, ProcessLookupError):
        return False


def seize(task: DumpTask, tid: int) -> DumpThread | None:
    """The thread, told to stop; None where it has ended."""
    try:
        tracee = Tracee.seize(tid, ptrace.O_TRACESYSGOOD)
    except ProcessLookupError:
        return None
    except PermissionError as error:
        if _has_ended(tid):
            return None
        raise CheckpointError(_why_not(task, tid)) from error
    try:
        tracee.interrupt()
    except ProcessLookupError:
        os.waitpid(tid, _WALL)  # it ended in between; its real parent waits for us to have seen it
        return None
    return DumpThread(tid, tid, tid, tracee, task, {})


def leave_vdso(thread: DumpThread, deadline: float) -> None:
    """Where a thread was stopped inside of the vDSO, let it go a few steps further: they take a microsecond."""
    tracee = thread.tracee
    for _ in range(_NUDGES):
        if tracee.stopped_by or not inside_vdso(tracee.registers, thread.task.pid):
            return
        tracee.resume()
        time.sleep(0.00002)  # stopped at once, it would not have made a step
        tracee.interrupt()
        tracee.settle(deadline)


def _has_ended(tid: int) -> bool:
    """ptrace(2) says EPERM of a zombie too."""
    try:
        return proc.stat(tid).state in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _why_not(task: DumpTask, tid: int) -> str:
    fields = proc.status(tid)
    tracer = fields.get("TracerPid", "0")
    if tracer != "0":
        return f"{task} is traced by process {tracer}: detach that debugger first"
    return f"{task} may not be traced by us: run as root with CAP_SYS_PTRACE"


def why_no_stop(thread: DumpThread) -> CheckpointError:
    if vfork.waits(thread):
        children = ", ".join(map(str, proc.children(thread.task.pid)))
        return WaitsInVfork(
            f"{thread.task} waits in vfork(2) for its child {children} to exec or exit: try again after that"
        )
    state, where = proc.stat(thread.tid).state, proc.read_text(thread.tid, "wchan")
    return CheckpointError(
        f"{thread.task} does not stop: its thread {thread.tid} is in state {state}, waiting in {where}; try again later"
    )
