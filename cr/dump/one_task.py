"""The dump of one frozen task: asked by programs in its threads, described from outside, written."""

from __future__ import annotations

from cr import log
from cr.contract.dumping import DumpContext, DumpTask, DumpThread, identity
from cr.contract.resource import task_resources
from cr.dump import foresight, main_thread, scratch, snapshot, tracking
from cr.dump.memory import AddressSpaceDump
from cr.remote.critical import critical
from cr.remote.foothold import PROGRAM_OFFSET
from cr.remote.program import Program
from cr.resources.tasks.own_settings import write_own_entries


def dump_task(task: DumpTask, context: DumpContext) -> None:
    """Write all images of a task that are its own."""
    if task.is_zombie:
        _write_zombie(task, context)
        return
    log.debug(f"dumping {task} with {len(task.threads)} threads and {len(task.mappings)} mappings")
    space = AddressSpaceDump(task, context)
    asked: list[tuple[DumpThread, list[object], Program]] = []
    for thread in task.threads:
        program = Program()
        if thread.is_leader:
            space.ask(program)
        resources = [resource() for resource in task_resources(leader=thread.is_leader)]
        for resource in resources:
            resource.ask(program, thread, context)
        asked.append((thread, list(resources), program))
    _run(task, asked, context)
    if not snapshot.begin(context).will_tell(task):
        foresight.begin(context).check(task, now=tracking.goes_on(context.options))  # which would change flags
    space.copy()  # goes on while the rest is described
    space.record()
    for thread, found, _ in asked:
        _write_core(thread, found, context)
    write_own_entries(task, context)


def _run(task: DumpTask, asked: list[tuple[DumpThread, list[object], Program]], context: DumpContext) -> None:
    room = PROGRAM_OFFSET + max(program.size for _, _, program in asked)
    size = (room + 0xFFF) & ~0xFFF
    with critical(), scratch.foothold(task, size) as foothold:
        for thread, _, program in asked:
            if program.calls:
                foothold.lay_way_home(thread.tracee)
                try:
                    foothold.run(thread.tracee, identity(thread), program)
                finally:
                    thread.tracee.store()  # the next program's way home takes the place of this one's
        snapshot.begin(context).take(task, foothold)


def _write_core(thread: DumpThread, resources: list[object], context: DumpContext) -> None:
    from images import messages as m

    core = m.core_entry()
    if thread.is_leader:
        core.tc.SetInParent()
    for resource in resources:
        resource.record(thread, core, context)  # type: ignore[attr-defined]
    if thread.is_leader and thread.task.exited_main:
        context.images.write("core", thread.task.vpid, entries=[main_thread.image(core, thread.task)])
        core.ClearField("tc")
    name = thread.task.vpid if core.HasField("tc") else thread.vtid
    context.images.write("core", name, entries=[core])
    if thread.is_leader:
        ids = m.task_kobj_ids_entry(**thread.task.ids)
        context.images.write("ids", thread.task.vpid, entries=[ids])


def _write_zombie(task: DumpTask, context: DumpContext) -> None:
    from cr.model import TASK_DEAD
    from images import messages as m

    core = m.core_entry(mtype=m.core_entry.march.X86_64)
    core.tc.task_state = TASK_DEAD
    core.tc.exit_code = task.stat.exit_code
    core.tc.comm = task.stat.comm
    core.tc.personality = core.tc.flags = core.tc.blk_sigset = 0
    context.images.write("core", task.vpid, entries=[core])
