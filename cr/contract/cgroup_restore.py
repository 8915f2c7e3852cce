"""The cgroups of the images, made once a restore in the mode of --manage-cgroups, and tasks put into them."""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from cgroups.hierarchies import Layout
    from cgroups.model import CgroupSet, CgroupTree
    from cgroups.restore import Restored
    from cgroups.undo import UndoStep
    from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread


def restored_cgroups(context: RestoreContext) -> Restored | None:
    """The cgroups, made at the first call; None where the images have none or they are to be ignored."""
    return context.once("cgroups", lambda: _restore(context))


def _restore(context: RestoreContext) -> Restored | None:
    if not context.images.exists("cgroup"):
        return None
    message = context.images.read_one("cgroup")
    if not message.sets and not context.options.manage_cgroups:
        return None  # all tasks were where the engine was
    from cgroups.restore import Mode, parse_mode, restore
    from cgroups.roots import parse_roots
    from cr.contract.cgroup_images import from_message

    mode = parse_mode(context.options.manage_cgroups or "")
    if mode is Mode.IGNORE:
        return None
    own = context.inventory.root_cg_set if context.inventory is not None else 0
    tree = from_message(message, own)
    restored = restore(tree, mode, parse_roots(context.options.cgroup_root), cgroup_layout(context, tree))
    if restored.steps:
        context.undo.append(partial(take_back, tuple(restored.steps)))
    context.before_release.append(restored.finish)
    context.when_grown.append(lambda: _settle(restored, (), context))
    return restored


def settle(context: RestoreContext) -> None:
    """A cgroup namespace stands: what kept its maker out of its root is written, unless others are to stand there."""
    restored = restored_cgroups(context)
    if restored is None or not restored.held:
        return
    waiting: set[str] = set()
    for task in context.live_tasks:
        place = set_of(task.leader, context)
        if task.ids is not None and place is not None and not context.is_made("cgroup_ns_id", task.ids.cgroup_ns_id):
            waiting |= {member.path[: member.cgns_prefix] for member in place.members}
    _settle(restored, waiting, context)


def _settle(restored: Restored, waiting: Container[str], context: RestoreContext) -> None:
    if steps := restored.settle(waiting):
        context.undo.append(partial(take_back, tuple(steps)))


def cgroup_layout(context: RestoreContext, tree: CgroupTree | None = None) -> Layout:
    """Where the hierarchies are that the tasks were in."""
    from cr.contract.cgroup_layout import layout_with

    names = [member.name for place in (tree.sets if tree is not None else ()) for member in place.members]
    return context.once("cgroup layout", lambda: layout_with(names, context))


def take_back(steps: tuple[UndoStep, ...]) -> None:
    """Remove what a restore had made; OSError with all that could not be."""
    from cgroups.undo import undo

    if failures := undo(steps):
        raise OSError(errno.EBUSY, "; ".join(str(failure) for failure in failures))


def set_of(thread: RestoreThread, context: RestoreContext) -> CgroupSet | None:
    """Where a thread was; None where that was the engine's own place, or is not known."""
    restored = restored_cgroups(context)
    if restored is None:
        return None
    core = thread.task.core
    number = core.tc.cg_set
    if thread.core.thread_core.HasField("cg_set"):
        number = thread.core.thread_core.cg_set
    return None if number == restored.tree.own_set else restored.tree.set_by_id(number)


def move_task(task: RestoreTask, context: RestoreContext, *, to_namespace_root: bool = False) -> None:
    """Move a puppet to its set; or to the place that is the root of its cgroup namespace."""
    from cgroups.move import move
    from cgroups.restore import at_namespace_root

    place = set_of(task.leader, context)
    if place is not None:
        target = at_namespace_root(place) if to_namespace_root else place
        move(task.puppet.tid, target, cgroup_layout(context))
