"""Which cgroups the tree is in, read once a dump and written to cgroup.img."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cr.kernel import proc
from cr.kernel.namespaces import inside_of
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cgroups.collect import Selection
    from cgroups.model import CgroupTree
    from cgroups.properties import ControllerSpec
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.options import Options
    from images import messages as m

FROZEN_BY_US = "frozen cgroups"
"""Key in `context.shared` of the directories that were thawed before the dump froze them itself."""


def set_numbers(context: DumpContext) -> dict[int, int]:
    """tid -> number of its set; cgroup.img is written unless all are in the engine's own."""
    return context.once("cgroup sets", lambda: _collect(context))


def warm_up(tasks: list[DumpTask], options: Options) -> None:
    """Load what a dump of cgroups needs, before anything is frozen, if these tasks will need it."""
    if options.cgroup_props or options.cgroup_props_file:
        _specs(options)  # what is wrong with them is said now
    try:
        needed = not _with_us(task.pid for task in tasks)
    except (FileNotFoundError, ProcessLookupError):
        needed = True  # one has ended meanwhile
    if needed:
        from cgroups.properties import DEFAULTS, rank
        from cr.contract import cgroup_images  # noqa: F401

        for patterns in DEFAULTS.values():
            rank("", patterns)


def _with_us(tids: Iterable[int]) -> bool:
    """Whether all of them are in the engine's own cgroups, in the same cgroup namespace."""
    own, namespace = proc.read_bytes("self", "cgroup"), proc.namespace_inode("self", "cgroup")
    return all(
        proc.read_bytes(tid, "cgroup") == own and proc.namespace_inode(tid, "cgroup") == namespace for tid in tids
    )


def _collect(context: DumpContext) -> dict[int, int]:
    tids = [thread.tid for task in context.live_tasks for thread in task.threads]
    if context.options.manage_cgroups == "ignore" or _with_us(tids):
        _note_own_set(1, context)
        return dict.fromkeys(tids, 1)
    tree = _collect_tree(context)
    return dict(tree.of_task)


def _collect_tree(context: DumpContext) -> CgroupTree:
    from cgroups.collect import collect
    from cr.contract.cgroup_images import to_message
    from cr.contract.cgroup_layout import layout_here

    pids = [task.pid for task in context.live_tasks]
    tree = collect(pids, _selection(context), layout_here(context.options.cgroup_yard), inside=_seen_inside)
    if set(tree.of_task.values()) - {tree.own_set}:
        context.images.write("cgroup", entries=[to_message(tree)])
    _note_own_set(tree.own_set or 0, context)
    return tree


def _note_own_set(own_set: int, context: DumpContext) -> None:
    def note(inventory: m.inventory_entry) -> None:
        inventory.root_cg_set = own_set

    changes: list[object] = context.once("inventory", list)
    changes.append(note)


def _seen_inside(pid: int) -> Mapping[str, str] | None:
    """/proc/PID/cgroup as the task sees it; None where that is what we see."""
    from cgroups.hierarchies import membership

    if proc.namespace_inode(pid, "cgroup") == proc.namespace_inode("self", "cgroup"):
        return None
    with inside_of(pid, "cgroup"):
        return membership(pid)


def _selection(context: DumpContext) -> Selection:
    from cgroups.collect import Selection
    from cgroups.properties import choose
    from cgroups.roots import parse_roots

    options = context.options
    controllers = frozenset(options.cgroup_dump_controller) or None
    frozen: frozenset[str] = frozenset(context.once(FROZEN_BY_US, list))
    properties = choose(_specs(options), options.cgroup_props_ignore_default)
    return Selection(properties, controllers, parse_roots(options.cgroup_root), frozen)


def _specs(options: Options) -> list[ControllerSpec]:
    """--cgroup-props and --cgroup-props-file; CheckpointError where one is wrong."""
    from cgroups.errors import CgroupError
    from cgroups.properties import parse_spec

    specs: list[ControllerSpec] = []
    try:
        if options.cgroup_props:
            specs += parse_spec(options.cgroup_props)
        if options.cgroup_props_file:
            specs += parse_spec(proc.read_file(options.cgroup_props_file), options.cgroup_props_file)
    except OSError as error:
        raise CheckpointError(f"--cgroup-props-file {options.cgroup_props_file}: {error.strerror}") from error
    except CgroupError as error:
        raise CheckpointError(str(error)) from error
    return specs
