"""Let the threads of a process go on together, as if they had never stood still."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from cr.kernel import proc
from cr.remote.tracee import WALL, Tracee

_PATIENCE = 0.02
"""seconds for a main thread to take its signals: it needs some 50 microseconds once it has a processor"""

_END = 0.02
"""seconds for a killed thread to end"""


def let_go(tracees: Sequence[Tracee], *, runs: bool = True) -> None:
    """Detach from the threads of one process, the main thread first in the list and first to go.

    A signal to a process goes to its main thread wherever that can take it (kernel/signal.c, complete_signal); programs
    rely on it.  One that came while all threads stood still would go to the first that gets a processor.
    `runs` is False where a frozen cgroup, say, keeps the threads from running after that.
    """
    main, *others = tracees
    waits = bool(others) and runs and not main.stopped_by and _waiting_signals(main.tid)
    _detach(main)
    if waits:
        _await_taking(main.tid)
    for tracee in others:
        if not _detach(tracee):
            _bury(tracee.tid)


def _detach(tracee: Tracee) -> bool:
    """Whether there was a thread to let go: it may have been killed, or another have ended or replaced the process."""
    try:
        tracee.detach()
    except ProcessLookupError:
        return False
    return True


def _waiting_signals(tid: int) -> int:
    """Those sent to the process that the thread does not block, a bit for each."""
    try:
        status = proc.status(tid)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status["ShdPnd"], 16) & ~int(status["SigBlk"], 16)


def _await_taking(tid: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _waiting_signals(tid) and time.monotonic() < deadline:
        time.sleep(0)


def _bury(tid: int) -> None:
    """As its tracer, take notice of the end of a thread, without which its process cannot end.

    One that never came to a stop is not about to end: the kernel lets go of it when we end.
    """
    deadline = time.monotonic() + _END
    while time.monotonic() < deadline:
        try:
            if os.waitpid(tid, WALL | os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        time.sleep(0.0002)
