"""PID namespaces (pid_namespaces(7)): the tree has one of its own, or lives in one that stays outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.outside import outside
from cr.contract.resource import NamespaceResource
from cr.kernel import proc
from cr.kernel.namespaces import CLONE_NEWPID

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext


class PidNamespace(NamespaceResource):
    """Made with the root task; there is nothing in it but the tasks."""

    name = "pid"
    clone_flag = CLONE_NEWPID
    ids_field = "pid_ns_id"

    @classmethod
    def obstacles(cls, task: DumpTask, context: DumpContext) -> list[str]:
        found = []
        own = proc.namespace_inode(task.pid, "pid")
        if own != proc.namespace_inode(context.root_pid, "pid"):
            found.append(f"{task} is in a pid namespace below the root task's: dump that container by itself")
        if own != proc.namespace_inode(task.pid, "pid_for_children"):
            found.append(f"{task} has another pid namespace for its children: let it start them before the dump")
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
