"""Namespaces below those of the root task, as the images tell of them (woodfrog-namespaces.img).

A namespace is named by its id in ids-PID.img.  Every pid namespace and every user namespace has a parent; every
other one, and every pid namespace, belongs to a user namespace: whoever has rights in that has them over it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract import idmaps
from cr.model import BadImages

if TYPE_CHECKING:
    from cr.contract.idmaps import IdMap
    from cr.contract.restoring import RestoreContext, RestoreTask
    from images import messages as m

_MANY = 64
"""More than the kernel nests (32)."""


class Nesting:
    """What is below what; the namespaces of the root task, and those outside, are above all."""

    def __init__(self, context: RestoreContext) -> None:
        self._context = context
        found = context.images.read("woodfrog-namespaces") if context.images.exists("woodfrog-namespaces") else []
        self._entries: dict[int, m.woodfrog_namespace_entry] = {entry.id: entry for entry in found}
        ids = context.root.ids
        self.root_user = ids.user_ns_id if ids is not None else 0
        self.root_pid = ids.pid_ns_id if ids is not None else 0

    def entry(self, ns_id: int) -> m.woodfrog_namespace_entry:
        """What is told about a nested namespace."""
        if ns_id not in self._entries:
            raise BadImages(
                f"woodfrog-namespaces.img does not tell where namespace {ns_id} belongs, which a task is in"
            )
        return self._entries[ns_id]

    def outer_groups(self) -> list[int] | None:
        """The groups, as we count, that a tree has brought into the root task's user namespace, where it could not take
        them on in there; else None."""
        entry = self._entries.get(self.root_user)
        return list(entry.group) if entry is not None and entry.HasField("setgroups_denied") else None

    def maker(self) -> int | None:
        """Who made the root task's user namespace, as we count; None where that is not told."""
        entry = self._entries.get(self.root_user)
        return int(entry.owner_uid) if entry is not None and entry.HasField("owner_uid") else None

    def denies_groups(self) -> bool:
        """Whether nobody in the root task's user namespace may call setgroups(2)."""
        entry = self._entries.get(self.root_user)
        return entry is not None and entry.setgroups_denied

    def owner(self, ns_id: int) -> int:
        """The user namespace that a namespace belongs to."""
        entry = self._entries.get(ns_id)
        return entry.owner if entry is not None and entry.owner else self.root_user

    def user_of(self, task: RestoreTask) -> int:
        """The user namespace of a task; a zombie is in nobody's any more, so its parent's will do."""
        here: RestoreTask | None = task
        while here is not None and (here.ids is None or not here.ids.user_ns_id):
            here = here.parent
        return here.ids.user_ns_id if here is not None and here.ids is not None else self.root_user

    def users_down(self, outer: int, inner: int) -> list[int]:
        """The user namespaces below `outer` on the way to `inner`, which is the last of them."""
        return self._down(outer, inner, self.root_user, "user")

    def pids_down(self, inner: int) -> list[int]:
        """The pid namespaces from the root task's to `inner`."""
        return [self.root_pid, *self._down(self.root_pid, inner, self.root_pid, "pid")]

    def is_within(self, user: int, outer: int) -> bool:
        """Whether a user namespace is `outer`, or below it."""
        return outer in (user, self.root_user) or outer in self.users_down(self.root_user, user)

    def _down(self, outer: int, inner: int, root: int, kind: str) -> list[int]:
        found: list[int] = []
        here = inner
        while here != outer:
            if here == root or len(found) > _MANY:
                raise BadImages(f"woodfrog-namespaces.img: {kind} namespace {inner} is not below {outer}")
            found.insert(0, here)
            here = self.entry(here).parent
        return found

    def shown_devices(self) -> dict[int, int]:
        """Proc filesystems that show an inner pid namespace: device in the images -> id of that."""
        return {device: ns_id for ns_id, entry in self._entries.items() for device in entry.proc_device}

    def maps(self, user: int, name: str) -> list[IdMap]:
        """`uid_map` or `gid_map` of a nested user namespace and of those above it, the root task's first."""
        first = idmaps.uids(self._context) if name == "uid_map" else idmaps.gids(self._context)
        return [first, *(self.map(each, name) for each in self.users_down(self.root_user, user))]

    def some_gid(self, user: int) -> int:
        """A group id that is known in a user namespace, as that counts."""
        extents = self.maps(user, "gid_map")[-1].extents
        return extents[0].first if extents else idmaps.OVERFLOW_ID

    def map(self, user: int, name: str) -> IdMap:
        """One map, relative to the parent namespace."""
        rows = getattr(
            self._context.once(("userns", user), lambda: self._context.images.read_one("userns", user)), name
        )
        return idmaps.IdMap(tuple(idmaps.Extent(row.first, row.lower_first, row.count) for row in rows))

    def from_root(self, number: int, user: int, name: str) -> int:
        """An id as the root task's user namespace counts, in a nested one; OVERFLOW_ID where it has none there."""
        for each in self.maps(user, name)[1:]:
            if not each.knows_outside(number):
                return idmaps.OVERFLOW_ID
            number = each.inside(number)
        return number

    def on_host(self, number: int, user: int, name: str) -> int:
        """An id of a nested user namespace as we count."""
        for each in reversed(self.maps(user, name)):
            number = each.outside(number)
        return number


def pids_of(pid: int, context: RestoreContext) -> tuple[int, ...]:
    """A pid of the images, and what it is in the namespaces below the root task's."""

    def read() -> dict[int, tuple[int, ...]]:
        found = context.images.read("woodfrog-pids") if context.images.exists("woodfrog-pids") else []
        return {entry.pid: tuple(entry.inner) for entry in found}

    return pid, *context.once("inner pids", read).get(pid, ())


def pid_seen_by(viewer: RestoreTask, pid: int, context: RestoreContext) -> int:
    """A pid of the images as a task knows it; 0 where that is in a pid namespace in which it has no number."""
    known, depth = pids_of(pid, context), len(viewer.leader.pids) - 1
    return known[depth] if depth < len(known) else 0


def nesting(context: RestoreContext) -> Nesting:
    """The one of this restore."""
    return context.once("nesting", lambda: Nesting(context))
