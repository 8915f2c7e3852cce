"""Whose memory userfaultfds are for, found out in the frozen task itself.

The kernel takes a registration only of memory that is there.  So a page at an address that is free in all tasks, mapped
in one of them for a moment, can be registered with those that are for this one; another one tells, by a read, whether
faults of the kernel wait (UFFD_USER_MODE_ONLY).
"""

from __future__ import annotations

import errno
import os
import threading
import time

from cr.contract.dumping import DumpContext, DumpTask
from cr.dump import scratch
from cr.kernel import faults, missing_pages, pagemap, proc, vm
from cr.model import CheckpointError
from cr.remote.critical import critical
from cr.remote.foothold import PROGRAM_OFFSET
from cr.resources.events.userfaultfd import Found

_MISSING = faults.FLAGS["um"]
_TOLD = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED | pagemap.PAGE_IS_WRITTEN | pagemap.PAGE_IS_WPALLOWED
_LOWEST = 0x10000
_SIZE = PROGRAM_OFFSET + 2 * vm.PAGE_SIZE
_PATIENCE = 5.0


def recognised(task: DumpTask, candidates: list[Found], context: DumpContext) -> list[Found]:
    """Those that are for the memory of a task."""
    with critical(), scratch.foothold(task, _SIZE, _free_everywhere(context.live_tasks)) as foothold:
        page = foothold.address + PROGRAM_OFFSET
        mine = [found for found in candidates if _is_for(found, task, page)]
    for found in mine:
        found.entry.owner = task.vpid
    return mine


def _free_everywhere(tasks: list[DumpTask]) -> int:
    """Where no task has anything, nor next to it; low, where nobody outside is likely to have anything either."""
    margin = vm.PAGE_SIZE
    with open("/proc/sys/vm/mmap_min_addr") as file:
        position = max(_LOWEST, int(file.read())) + margin
    for start, end in sorted((each.start, each.end) for task in tasks for each in task.mappings):
        if start - position >= _SIZE + margin:
            return position
        position = max(position, end + margin)
    raise CheckpointError("the tasks leave no address free in all of them, by which to tell their userfaultfds apart")


def _is_for(found: Found, task: DumpTask, page: int) -> bool:
    """The page is there and empty, in the task alone; the one behind it too.  Both are unregistered afterwards."""
    end = page + 2 * vm.PAGE_SIZE
    try:
        faults.register(found.fd, page, end, _MISSING)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOMEM):  # nothing is there, or the memory is gone
            return False
        raise
    reader = _Reader(task.pid, page + vm.PAGE_SIZE)
    try:
        missing_pages.zero(found.fd, page, vm.PAGE_SIZE)
        if not categories(task.pid, page) & pagemap.PAGE_IS_PRESENT:
            return False  # a stranger has something there
        found.entry.user_mode_only = not found.entry.features & faults.FEATURE_SIGBUS and not _waits(reader, found.fd)
        return True
    finally:
        faults.unregister(found.fd, page, end)  # a reader that waits goes on
        if reader.ident is not None:
            reader.join()


def categories(pid: int, page: int) -> int:
    """What PAGEMAP_SCAN says of one page."""
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = pagemap.scan(fd, page, page + vm.PAGE_SIZE, any_of=0, report=_TOLD)
    finally:
        os.close(fd)
    return found[0][2] if found else 0


class _Reader(threading.Thread):
    """Reads a missing page of a task: the kernel lets it wait, or fail at once (UFFD_USER_MODE_ONLY)."""

    def __init__(self, pid: int, page: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._page = pid, page

    def run(self) -> None:
        try:
            vm.read(self._pid, self._page, 1)
        except OSError:
            return


def _waits(reader: threading.Thread, fd: int) -> bool:
    before, deadline = _unresolved(fd), time.monotonic() + _PATIENCE
    reader.start()
    while reader.is_alive() and time.monotonic() < deadline:
        if _unresolved(fd) > before:
            return True
        time.sleep(0.0001)
    return reader.is_alive()


def _unresolved(fd: int) -> int:
    """How many wait for a page, or for an event to be read."""
    lines = dict(line.split(":", 1) for line in proc.fdinfo(os.getpid(), fd).splitlines())
    return int(lines["total"])


def is_of_the_dead(fd: int) -> bool:
    """Whether the memory is gone."""
    _, code = missing_pages.zero(fd, _LOWEST, vm.PAGE_SIZE)
    return code == errno.ESRCH
