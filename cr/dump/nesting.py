"""How the namespaces of a tree are nested, and the ids of its tasks in inner pid namespaces.

Images count pids as the root task's pid namespace does, and user ids as its user namespace does.  What further
namespaces make of them is told in images of our own: woodfrog-pids.img and woodfrog-namespaces.img.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from cr import log
from cr.contract import idmaps
from cr.contract.dumping import DumpContext, DumpTask
from cr.contract.filesystem import FilesystemResource, filesystems
from cr.dump import rights
from cr.dump.objects import NAMESPACES
from cr.kernel import proc
from cr.kernel.mounts import FSCONFIG_CMD_CREATE, fsconfig, fsmount, fsopen
from cr.kernel.namespaces import (
    CLONE_NEWUSER,
    FLAGS,
    open_namespace,
    owner_uid,
    owning_user_namespace,
    parent_namespace,
    within,
)
from cr.kernel.visits import ask
from cr.resources.files.namespace_file import NUMBERS
from cr.resources.mounts.proc import SHOWN
from cr.resources.namespaces.time_namespace import dump_for_children
from cr.resources.tasks.own_settings import own_entry

if TYPE_CHECKING:
    from cr.kernel.mountinfo import Mount
    from cr.resources.mounts.machinery.survey import Survey
    from images import messages as m

_HIERARCHIES = ("pid", "user")
_VIEWED = ("ipc", "net")
"""kinds that a filesystem shows and nobody can ask it which; of a proc, its first process tells"""
_MAPS = ("uid_map", "gid_map")


def record(context: DumpContext) -> None:
    """The two images, each only where there is something to tell."""
    if rows := _inner_ids(context):
        from images import messages as m

        entries = [m.woodfrog_pid_entry(pid=pid, inner=inner) for pid, inner in sorted(rows.items())]
        context.images.write("woodfrog-pids", entries=entries)
    for task in context.live_tasks:
        _check_group(task, context)
        for sentence in rights.obstacles(task, context):
            context.refuse(sentence)
    survey = _Survey(context)
    for task in context.live_tasks:
        survey.look(task)
        number = own_entry(task.leader, context).time_for_children
        if number and not context.images.exists("timens", number):
            dump_for_children(task, number, context)
    survey.look_at_proc(context.once(SHOWN, dict[int, int]))
    if "mount survey" in context.shared:
        survey.look_at_views(cast("Survey", context.shared["mount survey"]))
    survey.look_at_groups()
    survey.look_at_maker()
    if survey.found:
        context.images.write("woodfrog-namespaces", entries=survey.found.values())


def _check_group(task: DumpTask, context: DumpContext) -> None:
    """A group that is led outside of a pid namespace is inherited in there, from the first process on."""
    parent = task.parent
    if parent is None or proc.ns_ids(task.leader.status, "NSpgid")[-1]:
        return
    alike = len(proc.ns_ids(task.leader.status, "NSpid")) == len(proc.ns_ids(parent.leader.status, "NSpid"))
    leads = any(other.vpid == task.vpgid for other in context.tasks)
    if task.vpgid != context.root.vpgid and (task.vpgid != parent.vpgid if alike else not leads):
        context.refuse(
            f"{task} is in a process group outside of its pid namespace, which cannot be joined from there: "
            "let it have a group of its own, or end, before the dump"
        )


def _inner_ids(context: DumpContext) -> dict[int, list[int]]:
    """Every id that is in use below the root task's pid namespace, by its number there."""
    level = len(proc.ns_ids(context.root.leader.status, "NSpid")) - 1
    found: dict[int, list[int]] = {}
    for ids in _ids(context):
        known = [number for number in ids[level:] if number]
        if known and len(known) > len(found.get(known[0], [])) + 1:  # none: a session from outside of our own namespace
            found[known[0]] = known[1:]
    return found


def _ids(context: DumpContext) -> Iterator[list[int]]:
    """Process, thread, group and session ids at all levels; 0 where an inner namespace has no number for one."""
    for task in context.tasks:
        for name in ("NStgid", "NSpgid", "NSsid"):
            yield proc.ns_ids(task.leader.status, name)
        for thread in task.threads:
            yield proc.ns_ids(thread.status, "NSpid")


def _device_of(name: str) -> int:
    """The device, as mountinfo counts, of the filesystem that one gets who mounts it here."""
    config = fsopen(name)
    fsconfig(config, FSCONFIG_CMD_CREATE)
    number = os.fstat(fsmount(config)).st_dev
    return os.major(number) << 20 | os.minor(number)


def _read_maps() -> bytes:
    return "\0".join(proc.read_text("self", name) for name in (*_MAPS, "setgroups")).encode()


class _Survey:
    """The namespaces below the root task's, and those that a nested user namespace owns."""

    def __init__(self, context: DumpContext) -> None:
        self.context = context
        self.found: dict[int, m.woodfrog_namespace_entry] = {}
        self._numbers: dict[tuple[str, int], int] = context.once(NUMBERS, dict)
        self._root = {kind: proc.namespace_inode(context.root.pid, kind) for kind in NAMESPACES}
        self._seen: set[tuple[str, int]] = set()

    def look(self, task: DumpTask) -> None:
        """At the namespaces of one task."""
        for kind in NAMESPACES:
            key = kind, proc.namespace_inode(task.pid, kind)
            if key in self._seen or (key[1] == self._root[kind] and kind in _HIERARCHIES):
                continue
            self._seen.add(key)
            with open_namespace(task.pid, kind) as fd:
                self._look_at(fd, kind)

    def look_at_proc(self, shown: dict[int, int]) -> None:
        """Which of the pid namespaces each proc filesystem shows."""
        for device, inode in shown.items():
            entry = self.found.get(self._numbers.get(("pid", inode), 0))
            if entry is not None:
                entry.proc_device.append(device)

    def look_at_views(self, mounts: Survey) -> None:
        """Which filesystems show an inner ipc or network namespace: the kernel has one of each for all who mount it."""
        for resource in filesystems():
            there = [found.mount for table in mounts.found.values() for found in table if found.resource is resource]
            if resource.shows in _VIEWED and len({mount.device for mount in there}) > 1:
                self._look_at_view(resource, there)

    def _look_at_view(self, resource: type[FilesystemResource], mounts: list[Mount]) -> None:
        kind, name = resource.shows, resource.names[0]
        devices, shared = {mount.device for mount in mounts}, {mount.device for mount in mounts if mount.shared}
        inner = {proc.namespace_inode(task.pid, kind): task for task in self.context.live_tasks}
        inner.pop(self._root[kind], None)
        for task in inner.values():
            with open_namespace(task.pid, kind) as fd:
                device = int(ask([(fd, FLAGS[kind])], lambda: str(_device_of(name)).encode()))
                if device in shared:
                    log.warning(f"the {name} that {task} sees is shared: it will show the root task's namespace")
                elif device in devices:
                    self._entry(fd, kind).proc_device.append(device)

    def look_at_groups(self) -> None:
        """Groups that the root task's user namespace does not know, or does not let anybody set, came with its tasks.

        Where all in it have them, they bring them again; where not, somebody has come later, and what can be set is.
        """
        root = self.context.root
        if self._root["user"] == proc.namespace_inode("self", "user"):
            return
        groups, known = [int(word) for word in root.leader.status["Groups"].split()], idmaps.gids(self.context)
        denied = proc.read_text(root.pid, "setgroups").strip() == "deny"
        if not denied and all(map(known.knows_outside, groups)):
            return
        if denied and not self._all_have(groups):
            log.warning(f"{root}: others in its user namespace have other groups, setgroups will be allowed there")
            return
        with open_namespace(root.pid, "user") as fd:
            entry = self._entry(fd, "user")
        entry.setgroups_denied = denied
        entry.group.extend(groups)

    def look_at_maker(self) -> None:
        """Whoever has made the root task's user namespace has all rights in it, from outside too (user_namespaces(7)).

        root has them anyway.
        """
        if self._root["user"] == proc.namespace_inode("self", "user"):
            return
        with open_namespace(self.context.root.pid, "user") as fd:
            maker = owner_uid(fd)
            if maker not in (0, idmaps.OVERFLOW_ID):
                self._entry(fd, "user").owner_uid = maker

    def _all_have(self, groups: list[int]) -> bool:
        here = self.context.root.ids["user_ns_id"]
        tasks = [task for task in self.context.live_tasks if task.ids["user_ns_id"] == here]
        found = [thread.status["Groups"].split() for task in tasks for thread in task.threads]
        return all([int(word) for word in words] == groups for words in found)

    def _look_at(self, fd: int, kind: str) -> None:
        if kind == "user":
            self._add_user(fd)
            return
        owner = self._owner(fd)
        if not owner and kind != "pid":
            return
        entry = self._entry(fd, kind)
        if owner:
            entry.owner = owner
        if kind == "pid":
            entry.parent = self._parent(fd, kind)

    def _owner(self, fd: int) -> int:
        """The id of the user namespace that a namespace belongs to; 0 for the root task's and outer ones."""
        try:
            user = owning_user_namespace(fd)
        except PermissionError:
            return 0  # not even below our own
        try:
            if os.fstat(user).st_ino == self._root["user"] or not within(user, self._root["user"]):
                return 0
            return self._add_user(user)
        finally:
            os.close(user)

    def _add_user(self, fd: int) -> int:
        """Note a nested user namespace and those between it and the root task's; its id."""
        number = self._number(fd, "user")
        if number in self.found or os.fstat(fd).st_ino == self._root["user"]:
            return number
        parent = parent_namespace(fd)
        try:
            above = self._add_user(parent)
        finally:
            os.close(parent)
        entry = self._entry(fd, "user")
        entry.parent = above
        entry.owner_uid = idmaps.uids(self.context).inside(owner_uid(fd))
        self._write_maps(fd, entry)
        return number

    def _write_maps(self, fd: int, entry: m.woodfrog_namespace_entry) -> None:
        """As who is inside reads them: relative to the parent namespace."""
        from images import messages as m

        *maps, setgroups = ask([(fd, CLONE_NEWUSER)], _read_maps).decode().split("\0")
        entry.setgroups_denied = setgroups.strip() == "deny"
        record = m.userns_entry()
        for name, text in zip(_MAPS, maps, strict=True):
            for extent in idmaps.parse(text).extents:
                getattr(record, name).add(first=extent.first, lower_first=extent.lower, count=extent.count)
        self.context.images.write("userns", entry.id, entries=[record])

    def _parent(self, fd: int, kind: str) -> int:
        above = parent_namespace(fd)
        try:
            return self._number(above, kind)
        finally:
            os.close(above)

    def _entry(self, fd: int, kind: str) -> m.woodfrog_namespace_entry:
        from images import messages as m

        number = self._number(fd, kind)
        return self.found.setdefault(number, m.woodfrog_namespace_entry(id=number, kind=FLAGS[kind]))

    def _number(self, fd: int, kind: str) -> int:
        return self._numbers.setdefault((kind, os.fstat(fd).st_ino), len(self._numbers) + 1)
