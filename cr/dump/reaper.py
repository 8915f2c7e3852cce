"""Take a zombie that we have made out of its parent, a task that runs: it is stopped for a moment, and waits for it.

Also what the janitor does when the process that holds a snapshot was killed: the kernel has killed the copies then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from cr.contract.dumping import DumpTask, DumpThread
from cr.dump import scratch
from cr.dump.context import lead_out
from cr.kernel import proc, ptrace
from cr.kernel.numbers import NUMBERS
from cr.model import CheckpointError
from cr.remote.critical import critical
from cr.remote.tracee import Tracee

T = TypeVar("T")
_WALL = 0x40000000
_PATIENCE = 5.0
_LATE = 0.5  # seconds
_TICK = os.sysconf("SC_CLK_TCK")


def now() -> int:
    """The clock of start times: ticks since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICK // 1_000_000_000


def reap(pid: int, start_time: int, children: list[int]) -> None:
    """Let the task wait for these children (by its own pids), which are zombies already.

    CheckpointError where it cannot be stopped for that.
    """
    if not _is_there(pid, start_time):
        return  # it has ended: whoever inherited its children reaps them
    deadline = time.monotonic() + _PATIENCE
    try:
        tracee = _until(lambda: _seize(pid), deadline)
        if tracee is None:
            raise CheckpointError(f"task {pid} is traced by another process now: its zombies {children} stay")
        tracee.interrupt()
        tracee.settle(deadline)
        with critical():
            _wait_for(_thread(pid, tracee), children)
    except ProcessLookupError:
        return  # it ended under our hands
    except TimeoutError as error:
        raise CheckpointError(f"task {pid} does not stop: its zombies {children} stay") from error
    tracee.detach()


def reap_left(pid: int, start_time: int, since: int) -> None:
    """The janitor's part: find out which children are those copies, wait until they are dead, then `reap`.

    A copy sends no signal at its end, and was made within a second of `since` (see `now`).
    """
    until = time.monotonic() + _LATE
    while time.monotonic() < until:  # the task may just be on its way into the fork
        copies = [child for child in _children(pid, start_time) if _is_copy(child, since)]
        if copies and all(_is_zombie(child) for child in copies):
            reap(pid, start_time, [proc.ns_ids(proc.status(child), "NSpid")[-1] for child in copies])
            return
        if copies:
            until = max(until, time.monotonic() + _LATE)
        time.sleep(0.005)


def _children(pid: int, start_time: int) -> Iterator[int]:
    if _is_there(pid, start_time):
        yield from proc.children(pid)


def _is_copy(child: int, since: int) -> bool:
    stat = proc.stat(child)
    return stat.exit_signal == 0 and since - 1 <= stat.start_time <= since + _TICK


def _is_zombie(child: int) -> bool:
    return proc.stat(child).state in "ZX"


def _is_there(pid: int, start_time: int) -> bool:
    try:
        stat = proc.stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.start_time == start_time and stat.state not in "ZX"


def _seize(pid: int) -> Tracee | None:
    """None where somebody else traces it: the process that was killed, which the kernel is about to take off."""
    try:
        return Tracee.seize(pid, ptrace.O_TRACESYSGOOD)
    except PermissionError:
        return None


def _until(condition: Callable[[], T | None], deadline: float) -> T | None:
    while (found := condition()) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)
    return found


def _thread(pid: int, tracee: Tracee) -> DumpThread:
    task = DumpTask(pid, pid, 0, 0, 0, proc.stat(pid), None)
    thread = DumpThread(pid, pid, pid, tracee, task, proc.status(pid))
    task.threads = [thread]
    if thread.status["Seccomp"] != "0":
        tracee.options(ptrace.O_TRACESYSGOOD | ptrace.O_SUSPEND_SECCOMP)
    lead_out(thread)
    return thread


def _wait_for(thread: DumpThread, children: list[int]) -> None:
    task = thread.task
    task.mappings = proc.plain_mappings(task.pid)
    site = scratch.call_site(task)
    for child in children:
        site.call(thread.tracee, NUMBERS["wait4"], child, 0, os.WNOHANG | _WALL, 0)
