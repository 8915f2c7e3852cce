"""Since when threads wait in calls with a relative timeout; looked at before the freeze, which wakes them up.

The kernel does not tell when such a call ends.  But a thread that sleeps has not run since it went to sleep, and the
scheduler knows when that was (/proc/PID/sched).  The time it has left is never taken for less than it is.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cr.kernel import proc
from cr.kernel.numbers import NUMBERS
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, DumpThread

_CALLS = tuple(f"{NUMBERS[name]} " for name in ("poll", "futex", "restart_syscall"))
_SWITCHES = "voluntary_ctxt_switches"


@dataclass(frozen=True)
class Wait:
    """`since`: nanoseconds of CLOCK_MONOTONIC; `switches`: how often the thread had gone to sleep by then."""

    since: int
    switches: int


def look(task: DumpTask, context: DumpContext) -> None:
    """Note the threads of a task that wait."""
    for tid in proc.threads(task.pid):
        try:
            if proc.read_text(tid, "syscall").startswith(_CALLS):
                switches = int(proc.status(tid)[_SWITCHES])
                _waits(context)[tid] = Wait(_last_run(tid) + _offset(_processor(tid), context), switches)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended, or this kernel does not tell


def waited(thread: DumpThread, context: DumpContext) -> int:
    """Nanoseconds that a frozen thread has spent in the call that it is in; 0 where that is not known."""
    wait = _waits(context).get(thread.tid)
    if wait is None or int(thread.status.get(_SWITCHES, 0)) != wait.switches + 1:  # its stop was the one more
        return 0
    return max(0, time.monotonic_ns() - wait.since)


def _waits(context: DumpContext) -> dict[int, Wait]:
    return context.once("timed waits", dict)


def _offset(processor: int, context: DumpContext) -> int:
    """How far CLOCK_MONOTONIC is ahead of the scheduler's clock of a processor, or a little more.

    Each has one of its own, which stands while interrupts and the host of a virtual machine take its time.
    FileNotFoundError where we may not run there to look.
    """

    def measure() -> int | None:
        allowed = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, {processor})
        except OSError:
            return None
        try:
            os.sched_yield()  # the scheduler notes the time
            return time.monotonic_ns() - _last_run("thread-self")
        finally:
            os.sched_setaffinity(0, allowed)

    found = context.once(("offset of the scheduler's clock", processor), measure)
    if found is None:
        raise FileNotFoundError(2, f"the clock of processor {processor} cannot be looked at")
    return found


def _processor(tid: int) -> int:
    """Where a thread last ran."""
    return int(proc.read_text(tid, "stat").rpartition(") ")[2].split()[36])


def _last_run(tid: int | str) -> int:
    """When a thread last ran, by the scheduler's clock in nanoseconds."""
    for line in proc.read_text(tid, "sched").splitlines():
        if line.startswith("se.exec_start"):
            milliseconds, _, rest = line.rpartition(":")[2].strip().partition(".")
            return int(milliseconds) * 1_000_000 + int(rest)
    raise FileNotFoundError(2, "the scheduler does not tell when a thread ran")
