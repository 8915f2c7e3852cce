"""Whose memory the userfaultfds of a tree are for, and what is registered with them.

The kernel shows neither.  But it takes a registration only of memory that is there: a page at an address that is free
in all tasks, mapped in one of them for a moment, tells which userfaultfds are for this one.  And a range that is
registered already can be registered again, without any change, with its own userfaultfd only.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.dumping import DumpContext, DumpTask
from cr.dump import scratch
from cr.dump.fault_states import describe
from cr.kernel import faults, missing_pages, pagemap, proc, ptrace, vm
from cr.model import CheckpointError, Refused
from cr.remote.critical import critical
from cr.remote.foothold import PROGRAM_OFFSET
from cr.resources.events.userfaultfd import LINK, Found, userfaultfds

if TYPE_CHECKING:
    from cr.dump.pages import Span
    from cr.kernel.proc import Mapping

_MISSING, _PROTECTED = faults.FLAGS["um"], faults.FLAGS["uw"]
_TOLD = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED | pagemap.PAGE_IS_WRITTEN | pagemap.PAGE_IS_WPALLOWED
_IN_USE = "userfaultfd in use"
_LOWEST = 0x10000
_SIZE = PROGRAM_OFFSET + 2 * vm.PAGE_SIZE
_PATIENCE = 5.0


def objections(tasks: list[DumpTask]) -> Iterator[str]:
    """Before the freeze: memory that is registered, and nobody there who could handle its faults."""
    registered = [(task, mapping) for task in tasks for mapping in task.mappings if modes_of(mapping)]
    if registered and not any(holds_one(task.pid) for task in tasks):
        yield from (_strange(task, mapping) for task, mapping in registered)


def in_use(context: DumpContext) -> bool:
    """Whether a task has a userfaultfd, or one is on its way to it."""
    return context.once(_IN_USE, lambda: any(holds_one(task.pid) for task in context.live_tasks))


def look(tasks: list[DumpTask], context: DumpContext) -> None:
    """Answer that from outside: for thousands of descriptors it takes longer than tasks should stand still."""
    context.once(_IN_USE, lambda: any(holds_one(task.pid) for task in tasks))


def modes_of(mapping: Mapping) -> int:
    return sum(mode for flag, mode in faults.FLAGS.items() if flag in mapping.flags)


def report_forks(task: DumpTask, context: DumpContext) -> bool:
    """Whether a fork of the task would be told to somebody, and wait until that is read."""
    features = (found.entry.features for found in _of(task, context))
    return any(each & faults.FEATURE_FORK for each in features)


def without_content(task: DumpTask, context: DumpContext) -> list[Span]:
    """Ascending spans of what looks like pages in swap and is none: marks, which cannot be read."""
    return sorted(_marks(context).get(task.ids["vm_id"], []))


def settle(context: DumpContext) -> None:
    """All descriptor tables are known, and no program has run in any task: fill in the entries of the userfaultfds."""
    context.shared[_IN_USE] = bool(userfaultfds(context))
    spaces = list({task.ids["vm_id"]: task for task in context.live_tasks}.values())
    registered = {task.pid: [each for each in task.mappings if modes_of(each)] for task in spaces}
    _check_within_reach([task for task in context.live_tasks if any(modes_of(each) for each in task.mappings)])
    if (registered_somewhere := any(registered.values())) and context.obstacles:
        raise Refused(context.obstacles)  # what is not known of it, could stop us for good when its pages are read
    strangers = userfaultfds(context)
    for task in spaces if strangers else ():
        ours = _recognised(task, strangers, context)
        strangers = [found for found in strangers if found not in ours]
    for found in strangers:
        if not _is_of_the_dead(found.fd):
            context.refuse(
                f"{found.name} is a userfaultfd for the memory of a process that is not in the tree: dump them together"
            )
    for task in spaces:
        for mapping in registered[task.pid]:
            _attribute(mapping, task, context)
    if registered_somewhere and context.obstacles:
        raise Refused(context.obstacles)


def holds_one(pid: int) -> bool:
    """Whether a process has a userfaultfd."""
    try:
        return any(_link(pid, name) == LINK for name in os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{name}")
    except FileNotFoundError:
        return ""


def _strange(task: DumpTask, mapping: Mapping) -> str:
    return (
        f"{mapping} of {task} is registered with a userfaultfd(2) that nobody in the tree has: dump whoever handles "
        "its page faults with it, or unregister it first"
    )


def _of(task: DumpTask, context: DumpContext) -> list[Found]:
    known: dict[int, list[Found]] = context.once("userfaultfds by memory", dict)
    return known.setdefault(task.ids["vm_id"], [])


def _marks(context: DumpContext) -> dict[int, list[Span]]:
    return context.once("marks without pages", dict)


def _check_within_reach(tasks: list[DumpTask]) -> None:
    """The kernel writes to a thread's rseq(2) area whenever it has run: it would wait for a handler that is frozen."""
    reasons = []
    for task in tasks:
        for thread in task.threads:
            address = ptrace.rseq_configuration(thread.tid).address
            mapping = next((each for each in task.mappings if each.start <= address < each.end), None)
            if mapping is not None and _faults(mapping, task.pid, address & -vm.PAGE_SIZE):
                reasons.append(
                    f"thread {thread.tid} of {task} has its rseq(2) area in a page that is missing, or protected, by "
                    "userfaultfd(2), where it cannot run to be dumped: let that page be resolved first"
                )
    if reasons:
        raise Refused(reasons)


def _faults(mapping: Mapping, pid: int, page: int) -> bool:
    """Whether who writes to that page waits for a handler of userfaultfd(2); with WP_ASYNC nobody does."""
    modes, found = modes_of(mapping), _categories(pid, page) if modes_of(mapping) else 0
    if modes & _MISSING and not found & (pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED):
        return True
    return bool(modes & _PROTECTED) and not found & (pagemap.PAGE_IS_WRITTEN | pagemap.PAGE_IS_WPALLOWED)


def _recognised(task: DumpTask, candidates: list[Found], context: DumpContext) -> list[Found]:
    """Those that are for the memory of a task."""
    with critical(), scratch.foothold(task, _SIZE, _free_everywhere(context.live_tasks)) as foothold:
        page = foothold.address + PROGRAM_OFFSET
        mine = [found for found in candidates if _is_for(found, task, page)]
    for found in mine:
        found.entry.owner = task.vpid
    _of(task, context).extend(mine)
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
        if not _categories(task.pid, page) & pagemap.PAGE_IS_PRESENT:
            return False  # a stranger has something there
        found.entry.user_mode_only = not found.entry.features & faults.FEATURE_SIGBUS and not _waits(reader, found.fd)
        return True
    finally:
        faults.unregister(found.fd, page, end)  # a reader that waits goes on
        if reader.ident is not None:
            reader.join()


def _categories(pid: int, page: int) -> int:
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


def _is_of_the_dead(fd: int) -> bool:
    _, code = missing_pages.zero(fd, _LOWEST, vm.PAGE_SIZE)
    return code == errno.ESRCH


def _attribute(mapping: Mapping, task: DumpTask, context: DumpContext) -> None:
    modes = modes_of(mapping)
    for found in _of(task, context):
        try:
            faults.register(found.fd, mapping.start, mapping.end, modes)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        else:
            entry = found.entry.range.add(start=mapping.start, end=mapping.end, modes=modes, private=not mapping.shared)
            _marks(context).setdefault(task.ids["vm_id"], []).extend(describe(task.pid, mapping, entry))
            return
    context.refuse(_strange(task, mapping))
