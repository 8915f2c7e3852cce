"""Which cgroups a task is in, and each thread of it where they differ (cgroups(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.cgroup_dump import set_numbers
from cr.contract.cgroup_restore import cgroup_layout, move_task, set_of
from cr.contract.resource import Stage, ThreadResource

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m


class CgroupMembership(ThreadResource):
    """The number of its set.  The root was moved before all others were born, who inherit its place."""

    stage = Stage.STATE
    order = -100

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        number = set_numbers(context)[thread.tid]
        core.thread_core.cg_set = number
        if thread.is_leader:
            core.tc.cg_set = number

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        place = set_of(thread, context)
        if place is None:
            return
        if thread.is_leader:
            if place != set_of(context.root.leader, context):
                move_task(thread.task, context)
        elif place != set_of(thread.task.leader, context):
            from cgroups.move import move

            move(thread.puppet.tid, place, cgroup_layout(context), thread_of=thread.task.puppet.tid)
