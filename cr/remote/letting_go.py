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


def let_go(tracees: Sequence[Tracee], *, runs: bool = True) -> list[Tracee]:
    """Detach from the threads of one process, the main thread first in the list and first to go.

    Those are given back that have not come to a stop yet, or whose end nobody has seen.

    A signal to a process goes to its main thread wherever that can take it (kernel/signal.c, complete_signal); programs
    rely on it.  One that came while all threads stood still would go to the first that gets a processor.
    `runs` is False where a frozen cgroup, say, keeps the threads from running after that.
    """
    main, *others = tracees
    waits = bool(others) and runs and not main.stopped_by and _waiting_signals(main.tid)
    left = [] if _detach(main) else [main]
    if waits:
        _await_taking(main.tid)
    return left + [tracee for tracee in others if not _detach(tracee) and not _ends(tracee)]


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


def _ends(tracee: Tracee) -> bool:
    """As its tracer, take notice of the end of a thread, without which its process cannot end."""
    deadline = time.monotonic() + _END
    while time.monotonic() < deadline:
        try:
            found, status = os.waitpid(tracee.tid, WALL | os.WNOHANG)
        except ChildProcessError:
            return True
        if found:
            return not os.WIFSTOPPED(status) or _detach(tracee)
        time.sleep(0.0002)
    return False
