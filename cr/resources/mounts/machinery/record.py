"""Write mountpoints-N.img and the contents of the filesystems, from a finished survey."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cr.contract.filesystem import AUTO, UNSUPPORTED, FilesystemResource
from cr.contract.idmaps import gids, uids
from cr.kernel import proc
from cr.kernel.mountinfo import Mount, mountinfo
from cr.kernel.patterns import pattern
from cr.resources.mounts.machinery.external import DEVICE, MountOptions
from cr.resources.mounts.machinery.survey import Found, Kind, Survey
from cr.resources.mounts.machinery.view import views
from cr.values import replace

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from images import messages as m

_ID_OPTION = pattern(r"\b(uid|gid)=(\d+)")
_CGROUP = frozenset({"cgroup", "cgroup2"})


def look(context: DumpContext, tables: dict[int, list[Mount]]) -> Survey:
    """Decide about every mount of these namespaces."""
    survey = Survey(MountOptions.of(context.options), mountinfo("self"))
    survey.look(_adapted(tables, context))
    return survey


def _adapted(tables: dict[int, list[Mount]], context: DumpContext) -> dict[int, list[Mount]]:
    """The tables as the tasks would see them: in a cgroup namespace every hierarchy begins at its root."""
    if proc.namespace_inode(context.root_pid, "cgroup") == proc.namespace_inode("self", "cgroup"):
        return tables
    return {
        ns_id: [replace(mount, root="/") if mount.fsname in _CGROUP else mount for mount in mounts]
        for ns_id, mounts in tables.items()
    }


def record(ns_id: int, task: DumpTask, survey: Survey, context: DumpContext) -> None:
    """Write the image of one namespace, and what is in the filesystems first met there."""
    table = survey.found[ns_id]
    with context.images.writer("mountpoints", ns_id) as image:
        for found in reversed(table):  # the order that other engines expect
            image.add(entry(found, context))
    _dump_contents(table, task, survey, context)


def entry(found: Found, context: DumpContext) -> m.mnt_entry:
    from images import messages as m

    mount, resource = found.mount, found.resource
    options = resource.options(mount, context) if resource else mount.options
    record = m.mnt_entry(
        fstype=_code(found),
        mnt_id=mount.id,
        root_dev=mount.device,
        parent_mnt_id=mount.parent,
        flags=mount.flags,
        root=mount.root,
        mountpoint=mount.mountpoint,
        source=mount.source,
        options=_ID_OPTION.sub(lambda match: _inside(match, context), options),
        shared_id=mount.shared,
        master_id=mount.master,
        sb_flags=mount.sb_flags,
    )
    if record.fstype == AUTO:
        record.fsname = mount.fsname
    if found.kind in (Kind.DEVICE, Kind.EXTERNAL):
        record.ext_key = DEVICE if found.kind is Kind.DEVICE else found.key
    if found.internal_sharing:
        record.internal_sharing = True
    if mount.deleted:
        record.deleted = True
    return record


def _code(found: Found) -> int:
    if found.kind in (Kind.DEVICE, Kind.ENABLED):
        return AUTO
    return found.resource.code if found.resource else UNSUPPORTED


def _inside(match: re.Match[str], context: DumpContext) -> str:
    """uid=N and gid=N as the tasks' user namespace counts: it is there that they are given again."""
    ids = uids(context) if match[1] == "uid" else gids(context)
    return f"{match[1]}={ids.inside(int(match[2]))}"


def _dump_contents(table: list[Found], task: DumpTask, survey: Survey, context: DumpContext) -> None:
    chosen: dict[int, tuple[Mount, type[FilesystemResource]]] = {}
    dumped: set[int] = context.once("dumped filesystems", set)
    for found in table:
        resource, mount = found.resource, found.mount
        if resource is None or not resource.has_content or found.kind is not Kind.MADE:
            continue
        if mount.device not in dumped and (mount.whole or resource.everywhere):
            chosen.setdefault(mount.device, (mount, resource))
    if not chosen:
        return
    with views(task.pid, [mount for mount, _ in chosen.values()], context.at_end) as roots:
        for mount, resource in chosen.values():
            resource.dump(mount, roots[mount.id], context)
            dumped.add(mount.device)
