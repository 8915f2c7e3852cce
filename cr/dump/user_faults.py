"""Whose memory the userfaultfds of a tree are for, and what is registered with them.

The kernel shows neither.  Whose they are is found out in cr.dump.fault_owners.  And a range that is registered already
can be registered again, without any change, with its own userfaultfd only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.dumping import DumpContext, DumpTask
from cr.dump.fault_owners import categories, is_of_the_dead, recognised
from cr.dump.fault_states import describe
from cr.kernel import faults, pagemap, ptrace, vm
from cr.model import Refused
from cr.resources.events.userfaultfd import LINK, Found, userfaultfds

if TYPE_CHECKING:
    from cr.dump.pages import Span
    from cr.kernel.proc import Mapping

_MISSING, _PROTECTED = faults.FLAGS["um"], faults.FLAGS["uw"]
_IN_USE = "userfaultfd in use"


def objections(tasks: list[DumpTask]) -> Iterator[str]:
    """Before the freeze: memory that is registered, and nobody there who could handle its faults."""
    registered = [(task, mapping) for task in tasks for mapping in _seen(task) if modes_of(mapping)]
    if registered and not any(holds_one(task.pid) for task in tasks):
        yield from (_strange(task, mapping) for task, mapping in registered)


def _seen(task: DumpTask) -> list[Mapping]:
    """The mappings of a task that runs, none where it has ended."""
    try:
        return task.mappings
    except (FileNotFoundError, ProcessLookupError):
        return []


def in_use(context: DumpContext) -> bool:
    """Whether a task has a userfaultfd, or one is on its way to it."""
    return context.once(_IN_USE, lambda: any(holds_one(task.pid) for task in context.live_tasks))


def look(tasks: list[DumpTask], context: DumpContext) -> None:
    """Answer that from outside: for thousands of descriptors it takes longer than tasks should stand still."""
    context.once(_IN_USE, lambda: any(holds_one(task.pid) for task in tasks))


def modes_of(mapping: Mapping) -> int:
    """UFFDIO_REGISTER_MODE_* of a mapping; 0: it is not registered."""
    if mapping.flags.isdisjoint(faults.FLAGS):
        return 0
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
    spaces = list({task.ids["vm_id"]: task for task in reversed(context.live_tasks)}.values())
    registered = {task.pid: [each for each in task.mappings if modes_of(each)] for task in spaces}
    registered_somewhere = any(registered.values())
    _check_within_reach(context.live_tasks if registered_somewhere else [])
    if registered_somewhere and context.obstacles:
        raise Refused(context.obstacles)  # what is not known of it, could stop us for good when its pages are read
    for found in _strangers(sorted(spaces, key=lambda task: not registered[task.pid]), context):
        if not is_of_the_dead(found.fd):
            context.refuse(
                f"{found.name} is a userfaultfd for the memory of a process that is not in the tree: dump them together"
            )
    for task in spaces:
        for mapping in registered[task.pid]:
            _attribute(mapping, task, context)
    if registered_somewhere and context.obstacles:
        raise Refused(context.obstacles)


def _strangers(spaces: list[DumpTask], context: DumpContext) -> list[Found]:
    """Find out whose they are; those that are left.  Most are for the memory of who has them."""
    left = list(userfaultfds(context))
    holders = {found.holder for found in left}
    for task in sorted(spaces, key=lambda task: task.pid not in holders):
        if not left:
            break
        ours = recognised(task, left, context)
        _of(task, context).extend(ours)
        left = [found for found in left if found not in ours]
    return left


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
    modes, found = modes_of(mapping), categories(pid, page) if modes_of(mapping) else 0
    if modes & _MISSING and not found & (pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED):
        return True
    return bool(modes & _PROTECTED) and not found & (pagemap.PAGE_IS_WRITTEN | pagemap.PAGE_IS_WPALLOWED)


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
