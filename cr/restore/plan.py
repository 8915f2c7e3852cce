"""The steps of a restore, told from the images alone: nothing is made, no rights are needed."""

from __future__ import annotations

from collections.abc import Iterator

from cr.contract.resource import fd_resource
from cr.contract.restoring import RestoreContext, RestoreTask
from cr.model import TASK_DEAD, TASK_STOPPED
from cr.restore.namespaces import own_namespaces


def plan(context: RestoreContext) -> Iterator[str]:
    """One line a step, in the order of `cr.restore.flow`."""
    kinds = [resource.name for resource, _ in own_namespaces(context)]
    yield f"create process {context.root.vpid}" + (f" in new namespaces: {', '.join(kinds)}" if kinds else "")
    for name in kinds:
        yield f"fill the {name} namespace"
    for task in context.tasks:
        yield from _life(task)
    yield from _files(context)
    for task in context.tasks:
        yield from _state(task)
    yield f"resume {len(context.tasks)} processes"


def _life(task: RestoreTask) -> Iterator[str]:
    if task.mm is not None:
        yield f"{task}: map {len(task.mm.vmas)} areas and read their pages"
    for child in task.children:
        yield f"{task}: create process {child.vpid}"


def _files(context: RestoreContext) -> Iterator[str]:
    wanted = {slot.id for task in context.tasks for slot in task.fds}
    for file_id in sorted(wanted & context.file_entries.keys()):
        entry = context.file_entries[file_id]
        resource = fd_resource(entry, context)
        yield f"make {resource.describe(getattr(entry, resource.field))}"


def _state(task: RestoreTask) -> Iterator[str]:
    if task.core.tc.task_state == TASK_DEAD:
        yield f"{task}: end as a zombie with status {task.core.tc.exit_code:#x}"
        return
    if task.fds:
        yield f"{task}: place {len(task.fds)} descriptors"
    if len(task.threads) > 1:
        yield f"{task}: create {len(task.threads) - 1} threads"
    stopped = " and stop" if task.core.tc.task_state == TASK_STOPPED else ""
    yield f"{task}: take on signals, timers, limits, credentials and registers{stopped}"
