"""What is saved of cgroups: plain values, one for one with the messages of cgroup.img."""

from __future__ import annotations

from collections.abc import Mapping

from values import dataclass, field


@dataclass(frozen=True)
class Perms:
    """Of a file or directory: `mode` is the whole st_mode (type bits too)."""

    mode: int
    uid: int
    gid: int


@dataclass(frozen=True)
class CgroupProperty:
    """One file of a cgroup; `value` without its last newline, "" where only the owner is kept."""

    name: str
    value: str
    perms: Perms | None = None


@dataclass(frozen=True)
class CgroupDir:
    """A directory; `name` is relative to its parent, or to the hierarchy's root for a topmost one."""

    name: str
    children: tuple[CgroupDir, ...] = ()
    properties: tuple[CgroupProperty, ...] = ()
    perms: Perms | None = None


@dataclass(frozen=True)
class CgroupController:
    """The saved directories of one hierarchy; `names` are its controllers (("",) for v2)."""

    names: tuple[str, ...]
    dirs: tuple[CgroupDir, ...] = ()
    is_threaded: bool = False


@dataclass(frozen=True)
class CgroupMember:
    """Where a task is in one hierarchy; `cgns_prefix`: length of the cgroup namespace's root in `path`."""

    name: str
    path: str
    cgns_prefix: int = 0


@dataclass(frozen=True)
class CgroupSet:
    """A task's place in all hierarchies, sorted by name.  Tasks in the same places share a set."""

    id: int
    members: tuple[CgroupMember, ...]


@dataclass(frozen=True)
class CgroupTree:
    """Everything that goes into cgroup.img, and the number of the set of each task and thread.

    `own_set` is the set of the engine itself: a task in it is not moved at restore.
    """

    sets: tuple[CgroupSet, ...] = ()
    controllers: tuple[CgroupController, ...] = ()
    of_task: Mapping[int, int] = field(default_factory=dict)
    own_set: int | None = None

    def set_by_id(self, number: int) -> CgroupSet | None:
        return next((s for s in self.sets if s.id == number), None)
