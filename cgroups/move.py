"""Moving a task or a thread to its saved cgroups."""

from __future__ import annotations

from cgroups.errors import CgroupError
from cgroups.hierarchies import Hierarchy, Layout, membership
from cgroups.hierarchies import layout as this_layout
from cgroups.model import CgroupMember, CgroupSet
from cgroups.node import Node


def move(task: int, to: CgroupSet, layout: Layout | None = None, thread_of: int | None = None) -> None:
    """Move a process with all its threads, or one thread of process `thread_of`, to a set.

    Hierarchies where it is there already are left alone.  Raises CgroupError that names task and directory.
    """
    layout = layout or this_layout()
    now = membership(task) if thread_of is None else membership(thread_of, task)
    for member in to.members:
        if now.get(member.name) == member.path:
            continue
        hierarchy = layout.named(member.name)
        if hierarchy is not None:
            _move_in(task, member, hierarchy, thread_of is not None)
        elif member.path != "/":
            raise CgroupError(
                f"task {task} was in cgroup {member.path} of the hierarchy {member.name or 'cgroup v2'}, "
                "which this host does not mount; mount it, or restore with --manage-cgroups=ignore"
            )


def _move_in(task: int, member: CgroupMember, hierarchy: Hierarchy, is_thread: bool) -> None:
    node = Node(hierarchy.directory(member.path), hierarchy.version)
    file = ("tasks" if hierarchy.version == 1 else "cgroup.threads") if is_thread else "cgroup.procs"
    try:
        node.write(file, task)
    except CgroupError as err:
        kind = "thread" if is_thread else "task"
        raise CgroupError(f"cannot move {kind} {task} to cgroup {node.path}: {err}", err.errno) from err
