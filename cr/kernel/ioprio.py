"""ioprio_get(2), ioprio_set(2)."""

from __future__ import annotations

from cr.kernel.libc import syscall

_WHO_PROCESS = 1


def ioprio_get(tid: int) -> int:
    """I/O scheduling class (from bit 13 on) and level of a thread; 0: none was set."""
    return syscall("ioprio_get", 252, _WHO_PROCESS, tid)


def ioprio_set(tid: int, priority: int) -> None:
    syscall("ioprio_set", 251, _WHO_PROCESS, tid, priority)
