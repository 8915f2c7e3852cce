"""How often a POSIX timer had run over when its signal was delivered last: timer_getoverrun(2).

Nothing sets that.  But a timer that is armed for a time in the past expires at once, and when its signal is taken the
kernel counts how many intervals have gone by since then, and goes on with the next one that is due.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr import log
from cr.remote.program import Program

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext, RestoreThread
    from images import messages as m

_TIMER_ABSTIME = 1
_ITIMERSPEC, _TIMESPEC = struct.Struct("<4q"), struct.Struct("<2q")
_SIGINFO_SIZE, _SIGSET_SIZE = 128, 8
_TIMER_ID = struct.Struct("<16xi")
_CLOCKS = frozenset({0, 1, 7, 11})  # CLOCK_REALTIME, _MONOTONIC, _BOOTTIME, _TAI: a past that comes at once
_SECOND = 1_000_000_000
_PATIENCE = (0, 100_000_000)  # seconds, nanoseconds


def arm(entry: m.posix_timer_entry, maker: RestoreThread, context: RestoreContext) -> bool:
    """Arm a timer that exists such that it has run over as often as before; False where it is to be armed plainly.

    No timer is armed yet that sends the same signal.
    """
    interval = entry.isec * _SECOND + entry.insec
    left = entry.vsec * _SECOND + entry.vnsec
    if not (entry.overrun and interval and 0 < left <= interval and entry.clock_id in _CLOCKS):
        return False
    target = _target(entry, maker)
    if target is None or _is_expected(entry.si_signo, target):
        return False
    start = _now(entry.clock_id, maker, context) + left - (entry.overrun + 1) * interval
    if start <= 0:
        return False
    program = Program()
    spec = _ITIMERSPEC.pack(entry.isec, entry.insec, *divmod(start, _SECOND))
    program.call("timer_settime", entry.it_id, _TIMER_ABSTIME, program.data(spec), 0)
    context.run(maker, program)
    if _taken(entry.si_signo, target, context) != entry.it_id:
        log.warning(f"POSIX timer {entry.it_id} of {maker.task} does not know any more how often it ran over")
    return True


def _target(entry: m.posix_timer_entry, maker: RestoreThread) -> RestoreThread | None:
    """The thread that takes the signal."""
    if not entry.notify_thread_id:
        return maker.task.leader
    return next((each for each in maker.task.threads if each.vtid == entry.notify_thread_id), None)


def _is_expected(signo: int, target: RestoreThread) -> bool:
    """Whether the signal waits in a queue of the images, or is the one by which our programs say that they are done."""
    queues = (target.core.thread_core.signals_p.signals, target.task.core.tc.signals_s.signals)
    waiting = {int.from_bytes(item.siginfo[:4], "little") for queue in queues for item in queue}
    return signo in waiting | {target.identity.notify}


def _now(clock: int, thread: RestoreThread, context: RestoreContext) -> int:
    """Nanoseconds, as the thread's time namespace counts."""
    program = Program()
    buffer = program.buffer(_TIMESPEC.size)
    program.call("clock_gettime", clock, buffer)
    context.run(thread, program)
    seconds, nanoseconds = _TIMESPEC.unpack(buffer.bytes)
    return int(seconds * _SECOND + nanoseconds)


def _taken(signo: int, thread: RestoreThread, context: RestoreContext) -> int:
    """Take a signal that a timer has sent: the timer's id, -1 where none came."""
    program = Program()
    only, info = program.data(struct.pack("<Q", 1 << (signo - 1))), program.buffer(_SIGINFO_SIZE)
    patience = program.data(_TIMESPEC.pack(*_PATIENCE))
    result = program.call("rt_sigtimedwait", only, info, patience, _SIGSET_SIZE, may_fail=True)
    context.run(thread, program)
    return int(_TIMER_ID.unpack_from(info.bytes)[0]) if result.value == signo else -1
