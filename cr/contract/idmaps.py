"""User and group ids as tasks of a user namespace know them, and as the host does (user_namespaces(7)).

Images hold the tasks' own view.  /proc, stat(2) and chown(2) speak the host's: what is read there goes through
`uids(context).inside`, what is set from our process through `.outside`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.kernel import proc
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext

OVERFLOW_ID = 65534
"""What an id without a mapping looks like (/proc/sys/kernel/overflowuid)."""


@dataclass(frozen=True)
class Extent:
    """`count` ids: `first` and those behind it inside are `lower` and those behind it outside."""

    first: int
    lower: int
    count: int


@dataclass(frozen=True)
class IdMap:
    """A uid_map or gid_map."""

    extents: tuple[Extent, ...]

    def inside(self, number: int) -> int:
        """A host's id as the tasks see it."""
        for extent in self.extents:
            if extent.lower <= number < extent.lower + extent.count:
                return extent.first + number - extent.lower
        return OVERFLOW_ID

    def outside(self, number: int) -> int:
        """A task's id as the host sees it."""
        for extent in self.extents:
            if extent.first <= number < extent.first + extent.count:
                return extent.lower + number - extent.first
        return OVERFLOW_ID

    def knows(self, number: int) -> bool:
        """Whether a task's id is one of the host's."""
        return any(extent.first <= number < extent.first + extent.count for extent in self.extents)

    def knows_outside(self, number: int) -> bool:
        """Whether a host's id is one of the tasks'."""
        return any(extent.lower <= number < extent.lower + extent.count for extent in self.extents)

    def text(self) -> str:
        """As uid_map takes it."""
        return "".join(f"{extent.first} {extent.lower} {extent.count}\n" for extent in self.extents)


IDENTITY = IdMap((Extent(0, 0, (1 << 32) - 1),))


def parse(text: str) -> IdMap:
    """From the text of /proc/PID/uid_map or gid_map."""
    rows = (tuple(int(word) for word in line.split()) for line in text.splitlines())
    return IdMap(tuple(Extent(*row) for row in rows))


def read(pid: int, name: str) -> IdMap:
    """uid_map or gid_map of a task, relative to our own user namespace; the identity where that is its own."""
    if proc.namespace_inode(pid, "user") == proc.namespace_inode("self", "user"):
        return IDENTITY
    return parse(proc.read_text(pid, name))


def uids(context: DumpContext | RestoreContext) -> IdMap:
    """The user ids of the tree; at restore only once its root puppet is born."""
    return context.once("uid_map", lambda: read(_root(context), "uid_map"))


def gids(context: DumpContext | RestoreContext) -> IdMap:
    """The group ids of the tree."""
    return context.once("gid_map", lambda: read(_root(context), "gid_map"))


def _root(context: DumpContext | RestoreContext) -> int:
    from cr.contract.dumping import DumpContext

    return context.root_pid if isinstance(context, DumpContext) else context.root.puppet.tid
