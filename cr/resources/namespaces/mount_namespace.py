"""Mount namespaces (mount_namespaces(7)): mountpoints-N.img and what is in the filesystems mounted there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.mounts import has_own_namespace, tables
from cr.contract.resource import NamespaceResource
from cr.kernel import proc
from cr.kernel.mountinfo import Mount, mountinfo
from cr.kernel.namespaces import CLONE_NEWNS

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext
    from cr.resources.mounts.machinery.survey import Survey


class MountNamespace(NamespaceResource):
    """All mount namespaces of the tree: what is mounted in several of them is written once."""

    name = "mnt"
    clone_flag = CLONE_NEWNS
    ids_field = "mnt_ns_id"
    order = 100  # proc, mqueue, sysfs and cgroup show the other namespaces of who mounts them
    at_birth = False

    @classmethod
    def obstacles(cls, task: DumpTask, context: DumpContext) -> Iterable[str]:
        """All namespaces are looked at together, with the root task's."""
        if not has_own_namespace(task.pid):
            return
        if task.parent is not None:
            if not has_own_namespace(_root(task).pid):
                yield f"{task} is in a mount namespace of its own, the root task is not: dump a container as a whole"
            return
        if context.tasks:
            return  # frozen: `dump` looks again, and refuses
        from cr.resources.mounts.machinery import archive  # noqa: F401 (loaded before anything is frozen)
        from cr.resources.mounts.machinery.record import look

        survey = look(context, _visible(task.pid))
        yield from survey.obstacles
        yield from _images_inside(survey, context)

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        from cr.resources.mounts.machinery.record import record

        survey = context.once("mount survey", lambda: _survey(context))
        record(ns_id, task, survey, context)

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        from cr.resources.mounts.machinery.restore import restore

        restore(ns_id, context)

    @classmethod
    def prepared(cls, ns_id: int, context: RestoreContext) -> int | None:
        return context.shared.get(("mount namespace", ns_id))


def _images_inside(survey: Survey, context: DumpContext) -> Iterable[str]:
    """Images in a filesystem whose content goes into the images would never be complete."""
    directory = context.options.images_dir
    number = os.stat(directory).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    for mount in survey.archived():
        if mount.device_name == device:
            yield (
                f"the images directory {directory} lies in {mount}, whose files go into the images: "
                "choose one outside of the container"
            )
            return


def _visible(root: int) -> dict[int, list[Mount]]:
    """The mounts of every namespace that the tree is in now, by the namespace's inode; the root's first."""
    found: dict[int, list[Mount]] = {}
    for pid in proc.descendants(root):
        try:
            inode = proc.namespace_inode(pid, "mnt")
            if inode not in found:
                found[inode] = mountinfo(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        except OSError as error:
            if error.errno != errno.EINVAL:  # a zombie has no mounts
                raise
    return found


def _root(task: DumpTask) -> DumpTask:
    while task.parent is not None:
        task = task.parent
    return task


def _survey(context: DumpContext) -> Survey:
    """The one look at all namespaces, whose obstacles are those of the dump."""
    from cr.resources.mounts.machinery.record import look

    survey = look(context, tables(context))
    for sentence in survey.obstacles:
        context.refuse(sentence)
    return survey
