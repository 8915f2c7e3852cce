"""Scratch memory in a task whose limits leave none: the soft limits are raised for the moment of mapping it."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from cr.contract.dumping import DumpTask
from cr.model import CheckpointError
from cr.remote.foothold import Foothold

_LIMITS = {
    "RLIMIT_AS": resource.RLIMIT_AS,
    "RLIMIT_DATA": resource.RLIMIT_DATA,
    "RLIMIT_MEMLOCK": resource.RLIMIT_MEMLOCK,
}


def make(task: DumpTask, instruction: int, size: int) -> Foothold:
    """Map `size` bytes; `instruction` is where the task has a `syscall` instruction."""
    try:
        return Foothold.make(task.leader.tracee, instruction, size=size)
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.EAGAIN):
            raise
    with _raised(task):
        try:
            return Foothold.make(task.leader.tracee, instruction, size=size)
        except OSError as error:
            raise CheckpointError(
                f"{task} has no room for {size} bytes of scratch memory: raise its limits "
                f"({', '.join(_LIMITS)}, see prlimit(1)) or /proc/sys/vm/max_map_count"
            ) from error


@contextmanager
def _raised(task: DumpTask) -> Iterator[None]:
    """The soft limits on memory are as high as the hard ones inside the block."""
    before: list[tuple[int, tuple[int, int]]] = []
    try:
        for limit in _LIMITS.values():
            soft, hard = resource.prlimit(task.pid, limit)
            if soft != hard:
                before.append((limit, (soft, hard)))
                resource.prlimit(task.pid, limit, (hard, hard))
        yield
    except PermissionError as error:
        raise CheckpointError(
            f"{task} is at its limits on memory, and raising them takes CAP_SYS_RESOURCE: raise them before the dump"
        ) from error
    finally:
        for limit, values in before:
            resource.prlimit(task.pid, limit, values)
