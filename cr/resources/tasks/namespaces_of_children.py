"""Namespaces that a process has for its children alone (pid_namespaces(7), time_namespaces(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource
from cr.kernel import proc
from cr.kernel.namespaces import CLONE_NEWPID
from cr.model import CheckpointError
from cr.remote.program import Program
from cr.resources.files.namespace_file import NUMBERS
from cr.resources.namespaces.pid_namespace import descriptor
from cr.resources.namespaces.time_namespace import unshare_for_children
from cr.resources.tasks.own_settings import own_entry, restored_entry

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
    from images import messages as m

_KINDS = ("pid", "time")


class NamespacesOfChildren(ProcessResource):
    """Noted where they are others than the process's own."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        numbers: dict[tuple[str, int], int] = context.once(NUMBERS, dict)
        for kind in _KINDS:
            try:
                inode = proc.namespace_inode(thread.task.pid, f"{kind}_for_children")
            except FileNotFoundError:  # a pid namespace in which nobody has been yet
                own_entry(thread, context).pid_for_children_is_new = True
                continue
            if inode != proc.namespace_inode(thread.task.pid, kind):
                number = numbers.setdefault((kind, inode), len(numbers) + 1)
                setattr(own_entry(thread, context), f"{kind}_for_children", number)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """That of time comes with the births of the children, that of pids before the descriptors.

        A new one comes here, when the last that we bear for a moment has gone: the first in it would stay the only one.
        """
        entry = restored_entry(thread, context)
        if entry is not None and entry.pid_for_children_is_new:
            program.call("unshare", CLONE_NEWPID, note="for its children")


def of_pids(task: RestoreTask, context: RestoreContext) -> None:
    """Turn to the pid namespace of the children, when all of those are born, and nothing of ours is any more."""
    entry = restored_entry(task.leader, context)
    if entry is None or not entry.pid_for_children:
        return
    program = Program()
    context.add_joins(program, [(descriptor(entry.pid_for_children, context), CLONE_NEWPID)])
    context.run(task.leader, program)


def of_time(task: RestoreTask, context: RestoreContext, child: RestoreTask | None = None) -> None:
    """Make the time namespace of the children, before the `child` that is born into it, at the latest when all are."""
    ns_id = time_for_children(task, context)
    wanted = child is None or (child.ids is not None and child.ids.time_ns_id == ns_id)
    there = context.is_made("time_ns_id", ns_id)
    if ns_id and wanted and not there:
        unshare_for_children(ns_id, task, context)
        context.has_made(child or task, "time_ns_id", ns_id)
    elif ns_id and there and not wanted:
        raise CheckpointError(f"{child} is in another time namespace than {task} has for its children by then")


def time_for_children(task: RestoreTask, context: RestoreContext) -> int:
    """Id of that namespace, 0 where it is the task's own."""
    entry = restored_entry(task.leader, context)
    return entry.time_for_children if entry is not None else 0
