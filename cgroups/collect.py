"""Looking at the cgroups of tasks: who is where, and what the directories are set to."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping

from cgroups import properties as props
from cgroups.errors import CgroupError, from_os
from cgroups.hierarchies import Hierarchy, Layout, membership
from cgroups.hierarchies import layout as this_layout
from cgroups.model import (
    CgroupController,
    CgroupDir,
    CgroupMember,
    CgroupProperty,
    CgroupSet,
    CgroupTree,
    Perms,
)
from cgroups.node import Node
from cgroups.roots import Roots
from values import dataclass, field

InsideView = Callable[[int], Mapping[str, str] | None]


@dataclass(frozen=True)
class Selection:
    """What to save.

    `controllers`: only these (--cgroup-dump-controller), all if None.  `roots`: the directory to begin
    with by controller (--cgroup-root).  `frozen_by_us`: cgroup directories that the engine froze itself, to
    be saved as thawed.
    """

    properties: props.PropertyList = field(default_factory=props.choose)
    controllers: frozenset[str] | None = None
    roots: Roots = field(default_factory=Roots)
    frozen_by_us: frozenset[str] = frozenset()

    def wants(self, hierarchy: Hierarchy) -> bool:
        return self.controllers is None or not self.controllers.isdisjoint(hierarchy.name.split(","))


def namespace_prefix(outside: str, inside: str) -> int:
    """The length of a cgroup namespace's root, from one path seen from outside and from inside of it.

    Raises CgroupError for a task that left its namespace's root ("/../x"): it cannot be put back there.
    """
    if inside.startswith("/.."):
        raise CgroupError(f"cgroup {outside} lies outside of its task's cgroup namespace (seen as {inside})")
    if inside == "/":
        return 0 if outside == "/" else len(outside)
    if not outside.endswith(inside):
        raise CgroupError(f"cgroup {outside} is seen as {inside} from inside; these do not fit together")
    return len(outside) - len(inside)


def members_of(seen: Mapping[str, str], inside: Mapping[str, str] | None = None) -> tuple[CgroupMember, ...]:
    """A membership as members sorted by name, with prefixes if the view from inside is given."""
    return tuple(
        CgroupMember(name, seen[name], namespace_prefix(seen[name], inside[name]) if inside else 0)
        for name in sorted(seen)
    )


class _Sets:
    """Numbers the sets from 1, in the order of being met."""

    def __init__(self) -> None:
        self.known: dict[tuple[CgroupMember, ...], int] = {}

    def number(self, members: tuple[CgroupMember, ...]) -> int:
        return self.known.setdefault(members, len(self.known) + 1)


def collect(
    pids: Iterable[int],
    selection: Selection | None = None,
    layout: Layout | None = None,
    inside: InsideView | None = None,
    own: Mapping[str, str] | None = None,
) -> CgroupTree:
    """Save the cgroups of processes and their threads.

    `inside(pid)` gives /proc/pid/cgroup as a task of that process's cgroup namespace sees it, or None if the
    namespace is the engine's.  `own` is the engine's membership (read here if not given); it becomes set 1.
    """
    selection, layout = selection or Selection(), layout or this_layout()
    sets, of_task = _Sets(), {}
    own_set = sets.number(members_of(own if own is not None else membership("self")))
    for pid in pids:
        view = inside(pid) if inside else None
        for tid in _threads(pid):
            of_task[tid] = sets.number(members_of(membership(pid, tid), view))
    used = set(of_task.values()) - {own_set}
    found = tuple(CgroupSet(number, members) for members, number in sets.known.items())
    controllers = _controllers([s for s in found if s.id in used], selection, layout)
    return CgroupTree(found, controllers, of_task, own_set)


def _threads(pid: int) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))  # noqa: PTH208
    except OSError as err:
        raise from_os(f"list the threads of task {pid}", err) from err


def _controllers(sets: list[CgroupSet], selection: Selection, layout: Layout) -> tuple[CgroupController, ...]:
    found = []
    for hierarchy in layout.hierarchies:
        if not selection.wants(hierarchy):
            continue
        members = [m for s in sets for m in s.members if m.name == hierarchy.name]
        paths = {m.path[: m.cgns_prefix] or m.path for m in members}  # all that their namespace shows is theirs
        if root := selection.roots.of(hierarchy.name):
            paths = {root} if paths else set()
        controller = _controller(hierarchy, topmost(paths), selection)
        if controller.dirs:
            found.append(controller)
    return tuple(found)


def topmost(paths: Iterable[str]) -> list[str]:
    """The paths that lie in none of the others.  A hierarchy's root is left out: it is nobody's own."""
    kept: list[str] = []
    for path in sorted(set(paths) - {"/"}):
        if not any(path == top or path.startswith(top + "/") for top in kept):
            kept.append(path)
    return kept


def _controller(hierarchy: Hierarchy, tops: list[str], selection: Selection) -> CgroupController:
    names = tuple(hierarchy.name.split(","))
    dirs = tuple(
        read_dir(hierarchy.directory(top), top.lstrip("/"), hierarchy, selection)
        for top in tops
        if Node(hierarchy.directory(top), hierarchy.version).exists()
    )
    return CgroupController(names, dirs, any(_has_threaded(directory) for directory in dirs))


def _has_threaded(directory: CgroupDir) -> bool:
    own = any(p.name == "cgroup.type" and p.value == "threaded" for p in directory.properties)
    return own or any(_has_threaded(child) for child in directory.children)


def read_dir(path: str, name: str, hierarchy: Hierarchy, selection: Selection) -> CgroupDir:
    """A directory with its properties and all that is below it."""
    with os.scandir(path) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    files = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
    children = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return CgroupDir(
        name,
        tuple(read_dir(posixpath.join(path, child), child, hierarchy, selection) for child in children),
        tuple(read_property(path, file, selection) for file in _wanted(files, hierarchy, selection)),
        _perms(path),
    )


def _wanted(files: list[str], hierarchy: Hierarchy, selection: Selection) -> list[str]:
    """The files to save, in the order of restoring."""
    controllers = hierarchy.controllers or tuple(hierarchy.name.split(","))
    general = props.GLOBAL_V1 if hierarchy.version == 1 else props.GLOBAL_V2
    patterns = [p for c in controllers for p in selection.properties.get(c, ())] + list(general)
    ranked = [(place, file) for file in files if (place := props.rank(file, patterns)) is not None]
    return [file for _, file in sorted(ranked)]


def _perms(path: str) -> Perms:
    status = os.stat(path)  # noqa: PTH116
    return Perms(status.st_mode, status.st_uid, status.st_gid)


def read_property(path: str, name: str, selection: Selection) -> CgroupProperty:
    """One file as it is to be restored."""
    perms = _perms(posixpath.join(path, name))
    return CgroupProperty(name, "" if name in props.OWNER_ONLY else _value(path, name, selection), perms)


def _value(path: str, name: str, selection: Selection) -> str:
    node = Node(path, 1)
    if name == "memory.oom_control":  # reads as a table, is written as one number
        return str(node.pairs(name).get("oom_kill_disable", 0))
    if name == "freezer.state":
        if path in selection.frozen_by_us:
            return "THAWED"
        # the state also shows a frozen parent; what was asked of this cgroup itself is in self_freezing
        frozen = node.number("freezer.self_freezing") if node.exists("freezer.self_freezing") else None
        return node.read(name) if frozen is None else "FROZEN" if frozen else "THAWED"
    if name == "cgroup.freeze" and path in selection.frozen_by_us:
        return "0"
    return node.read(name).strip()
