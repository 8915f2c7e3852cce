"""Plain values that dump and restore have in common.  No imports of ours."""

from __future__ import annotations

from cr.values import dataclass, field


class CheckpointError(Exception):
    """A dump or restore that cannot go on: one sentence naming task, resource and the way out."""


class Refused(CheckpointError):
    """What was found cannot be dumped; every reason is listed."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons))

    def __reduce__(self) -> tuple[type[Refused], tuple[list[str]]]:
        return Refused, (self.reasons,)  # it crosses from the process that holds the tasks


class BadImages(CheckpointError):
    """The images contradict themselves or lack something."""


@dataclass
class DumpReport:
    """What a dump did: counts, and times in microseconds."""

    tasks: int = 0
    threads: int = 0
    freezing_time: int = 0
    frozen_time: int = 0
    memdump_time: int = 0
    memwrite_time: int = 0
    pages_scanned: int = 0
    pages_skipped_parent: int = 0
    pages_written: int = 0
    shpages_written: int = 0
    pages_lazy: int = 0
    image_bytes: int = 0


@dataclass
class RestoreReport:
    """What a restore did; times in microseconds."""

    pid: int = 0
    tasks: int = 0
    pages_restored: int = 0
    forking_time: int = 0
    restore_time: int = 0
    steps: list[str] = field(default_factory=list)


TASK_ALIVE = 1
TASK_DEAD = 2
TASK_STOPPED = 3
"""task_core_entry.task_state"""
