"""User namespaces (user_namespaces(7)): the mappings of user and group ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract import idmaps
from cr.contract.nesting import nesting
from cr.contract.resource import NamespaceResource
from cr.kernel import proc
from cr.kernel.namespaces import CLONE_NEWUSER, open_namespace, within
from cr.model import CheckpointError
from cr.remote.program import Program

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreThread
    from images import messages as m

MAPS = ("uid_map", "gid_map")


class UserNamespace(NamespaceResource):
    """Made with the root task, which owns all other new namespaces by it; we write its maps."""

    name = "user"
    clone_flag = CLONE_NEWUSER
    ids_field = "user_ns_id"
    order = -100

    @classmethod
    def obstacles(cls, task: DumpTask, context: DumpContext) -> list[str]:
        if task.parent is None:
            return []
        above = proc.namespace_inode(task.parent.pid, cls.name)
        if proc.namespace_inode(task.pid, cls.name) == above:
            return []
        with open_namespace(task.pid, cls.name) as fd:
            if within(fd, above):
                return []
        return [
            f"{task} is in a user namespace that is not below its parent's: its parent could not make it again there, "
            "let it end before the dump"
        ]

    @classmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        from images import messages as m

        if task.ids[cls.ids_field] != context.root.ids[cls.ids_field]:
            return  # see cr.dump.nesting: its maps are relative to the namespace above it
        entry = m.userns_entry()
        for name in MAPS:
            for extent in idmaps.read(task.pid, name).extents:
                getattr(entry, name).add(first=extent.first, lower_first=extent.lower, count=extent.count)
        context.images.write("userns", ns_id, entries=[entry])

    @classmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        entry = context.images.read_one("userns", ns_id)
        task = context.first_in(cls.ids_field, ns_id)
        if nesting(context).denies_groups():
            proc.write_file(f"/proc/{task.puppet.tid}/setgroups", "deny")  # not possible once there is a map
        for name in MAPS:
            _write_map(task.puppet.tid, name, getattr(entry, name))
        become_root(task.leader, context)


def _write_map(pid: int, name: str, rows: list[m.uid_gid_extent]) -> None:
    text = idmaps.IdMap(tuple(idmaps.Extent(row.first, row.lower_first, row.count) for row in rows)).text()
    if not text:
        return
    try:
        proc.write_file(f"/proc/{pid}/{name}", text)
    except OSError as error:
        raise CheckpointError(
            f"cannot map {name.split('_')[0]}s of the user namespace ({text.strip()}): {error.strerror}"
        ) from error


def become_root(thread: RestoreThread, context: RestoreContext, uid: int = 0, gid: int = 0) -> None:
    """The puppet's ids are nobody's in its new user namespace: it takes those of its root, if there is one."""
    program = Program()
    if idmaps.gids(context).knows(gid):
        if nesting(context).outer_groups() is None:
            program.call("setgroups", 0, 0, may_fail=True, note="EPERM where the namespace denies it")
        program.call("setresgid", gid, gid, gid)
    if idmaps.uids(context).knows(uid):
        program.call("setresuid", uid, uid, uid)
    context.run(thread, program)
