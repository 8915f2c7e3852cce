"""Cgroup namespaces (cgroup_namespaces(7)): which cgroup the tasks see as the root.

A namespace's root is where its maker stood: the puppet is moved there, unshares, then goes to its own place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.cgroup_dump import set_numbers
from cr.contract.cgroup_restore import move_task, settle
from cr.contract.resource import NamespaceResource
from cr.kernel.namespaces import CLONE_NEWCGROUP
from cr.remote.program import Program

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext

HOST = 0
"""Stands for the host's cgroup namespace: the root task is moved to its cgroups all the same."""


class CgroupNamespace(NamespaceResource):
    """cgroup.img tells the root of each namespace as a prefix of its tasks' paths."""

    name = "cgroup"
    clone_flag = CLONE_NEWCGROUP
    ids_field = "cgroup_ns_id"
    order = -20
    at_birth = False

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        set_numbers(context)

    @classmethod
    def dump_shared(cls, context: DumpContext) -> None:
        set_numbers(context)

    @classmethod
    def shared_image(cls, context: RestoreContext) -> bool:
        return context.images.exists("cgroup")

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        task = context.root if ns_id == HOST else context.first_in(cls.ids_field, ns_id)
        if ns_id != HOST:
            move_task(task, context, to_namespace_root=True)
            program = Program()
            program.call("unshare", CLONE_NEWCGROUP)
            context.run(task.leader, program)
        move_task(task, context)
        settle(context)
