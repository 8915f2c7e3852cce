"""What /proc tells about one process, and guarding against a pid that was given to another."""

from __future__ import annotations

import os


def stat_of(pid: int) -> tuple[str, int] | None:
    """The state letter and the start time (clock ticks since boot) of a process; None if there is none.

    Fields 3 and 22 of /proc/pid/stat; the name before them may hold blanks and brackets.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="surrogateescape") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


def alive(pid: int, start_time: int) -> bool:
    """Whether the process that we knew still runs: not a zombie, and no later one with its pid."""
    found = stat_of(pid) if pid > 0 else None
    return found is not None and found[0] not in "ZX" and found[1] == start_time


def pidfd_of(pid: int, start_time: int) -> int:
    """A pidfd that surely stands for the process that we knew.  Raises ProcessLookupError."""
    fd = os.pidfd_open(pid)
    if not alive(pid, start_time):
        os.close(fd)
        raise ProcessLookupError(f"process {pid} has ended")
    return fd
