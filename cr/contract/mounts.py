"""Mounts by their ids: what a file of the images is looked up through.

dump     mounts(context)                     mnt_id -> Mount, of every mount namespace of the tree
         image_mount_id(file, context)       reg_file_entry.mnt_id and the like
restore  context.open(path, flags, mnt_id=)  the file at a path, seen through its own mount
         placed(context)                     mnt_id -> PlacedMount
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.kernel import proc
from cr.kernel.files import open_in_root
from cr.kernel.mountinfo import Mount, mountinfo
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, OpenFile
    from cr.contract.restoring import RestoreContext

NO_MOUNT = -1
"""What images say where no mount namespace was dumped."""


def has_own_namespace(pid: int) -> bool:
    """Whether a task is in another mount namespace than we are."""
    return proc.namespace_inode(pid, "mnt") != proc.namespace_inode("self", "mnt")


def namespaces(context: DumpContext) -> dict[int, DumpTask]:
    """The first task of each mount namespace of the tree that is not ours, by mnt_ns_id; the root's first."""

    def find() -> dict[int, DumpTask]:
        found: dict[int, DumpTask] = {}
        for task in context.live_tasks:
            if has_own_namespace(task.pid):
                found.setdefault(task.ids["mnt_ns_id"], task)
        return found

    return context.once("mount namespaces", find)


def tables(context: DumpContext) -> dict[int, list[Mount]]:
    """The mounts of each of these namespaces, in the kernel's order; none before the tree is frozen."""
    if not context.tasks:
        return {}
    return context.once(
        "mount tables", lambda: {ns_id: mountinfo(task.pid) for ns_id, task in namespaces(context).items()}
    )


def mounts(context: DumpContext) -> dict[int, Mount]:
    """Every mount of the tree's namespaces by its id; empty where the tree is in ours."""
    if not context.tasks:
        return {}
    return context.once(
        "mounts by id", lambda: {mount.id: mount for table in tables(context).values() for mount in table}
    )


def task_seeing(mnt_id: int, context: DumpContext) -> DumpTask | None:
    """A task in whose namespace a mount is; files can come from another one than that of the task that has them."""

    def find() -> dict[int, DumpTask]:
        tasks = namespaces(context)
        return {mount.id: tasks[ns_id] for ns_id, table in tables(context).items() for mount in table}

    return context.once("tasks by mount id", find).get(mnt_id) if context.tasks else None


def image_mount_id(file: OpenFile, context: DumpContext) -> int:
    """The mount that an open file was reached through, -1 where no image has it."""
    return file.mnt_id if file.mnt_id in mounts(context) else NO_MOUNT


@dataclass(frozen=True)
class PlacedMount:
    """A restored mount.  Descriptors are O_PATH and ours; they are closed when the restore is over."""

    mountpoint: str
    """in its namespace"""
    fd: int
    """what is mounted: its root, directory or file, as the mount shows it"""
    source_fd: int
    """the root of a view of the same filesystem that can be written to whatever the mount's flags say"""
    source_path: str
    """where in that view this mount begins, relative, "" for the view's own root"""


def placed(context: RestoreContext) -> dict[int, PlacedMount]:
    """Every restored mount by the id that it has in the images."""
    return context.once("placed mounts", dict)


def open_in_mount(mount: PlacedMount, path: str, flags: int, mode: int = 0) -> int:
    """Open a path of the mount's namespace, whatever may be mounted over the mount; close-on-exec."""
    relative = inside(mount, path)
    if relative:
        return open_in_root(mount.fd, relative, flags, mode)
    return os.open(f"/proc/self/fd/{mount.fd}", flags & ~os.O_NOFOLLOW | os.O_CLOEXEC)


def inside(mount: PlacedMount, path: str) -> str:
    """A path of the mount's namespace relative to the mount."""
    base = mount.mountpoint.rstrip("/")
    if path != base and not path.startswith(base + "/"):
        raise FileNotFoundError(2, f"{path} is not below the mount {mount.mountpoint} that it belongs to")
    return path[len(base) :].strip("/")
