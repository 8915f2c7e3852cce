"""PID namespaces (pid_namespaces(7)): the tree has one of its own, or lives in one that stays outside.

Below the root task's there may be others: cr.dump.nesting and cr.restore.births see to them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from cr.contract.outside import outside
from cr.contract.resource import NamespaceResource
from cr.kernel import proc
from cr.kernel.namespaces import CLONE_NEWPID

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext


def for_children(pid: int) -> int:
    """Inode of the pid namespace that a task's children are born in; 0 where nobody has been in it yet.

    ProcessLookupError where the task itself is ending.
    """
    try:
        return proc.namespace_inode(pid, "pid_for_children")
    except FileNotFoundError:
        if proc.stat(pid).is_ending:
            raise ProcessLookupError(errno.ESRCH, f"task {pid} is ending") from None
        return 0


def _with_init(context: DumpContext) -> set[int]:
    """The pid namespaces whose first process is in the tree, and alive: with it they end."""

    def find() -> set[int]:
        found = set()
        for pid in proc.descendants(context.root_pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if proc.ns_ids(proc.status(pid), "NSpid")[-1] == 1 and proc.stat(proc.living_thread(pid)).state != "Z":
                    found.add(proc.namespace_inode(pid, "pid"))
        return found

    return context.once(("pid namespaces with their first process", bool(context.tasks)), find)


class PidNamespace(NamespaceResource):
    """Made with the root task; there is nothing in it but the tasks."""

    name = "pid"
    clone_flag = CLONE_NEWPID
    ids_field = "pid_ns_id"

    @classmethod
    def obstacles(cls, task: DumpTask, context: DumpContext) -> list[str]:
        found = []
        own = proc.namespace_inode(task.pid, "pid")
        there = _with_init(context)
        if own != proc.namespace_inode(context.root_pid, "pid") and own not in there:
            found.append(f"{task} is in a pid namespace whose first process is outside of the tree: dump both together")
        later = for_children(task.pid)
        if later not in (0, own) and later not in there:
            found.append(
                f"{task} has another pid namespace for its children, in which no process of the tree is (any more): "
                "dump all of it together, or end this one: it can have no children"
            )
        stays = own == proc.namespace_inode("self", "pid") or outside(context).namespace("pid", own)
        if task.parent is None and task.vpid != 1 and not stays:
            found.append(
                f"{task} is not the first process of its pid namespace: dump the tree from pid 1 of it, "
                f"or leave the namespace outside with --external pid[{own}]:NAME"
            )
        return found

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        from images import messages as m

        key = outside(context).namespace("pid", proc.namespace_inode(task.pid, "pid"))
        if key is not None:
            context.images.write("pidns", ns_id, entries=[m.pidns_entry(ext_key=key)])

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        """Nothing is left to do: the kernel made it with its first task."""


def descriptor(space: int, context: RestoreContext) -> int:
    """Ours, of a pid namespace, by its id, in which there is a task by now."""

    def find() -> int:
        task = context.first_in(PidNamespace.ids_field, space)
        return context.keep(os.open(f"/proc/{task.puppet.tid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC))

    return context.once(("pid namespace", space), find)
