"""Making saved cgroups again, in one of the modes of --manage-cgroups.

| mode   | directories                  | properties                      |
|--------|------------------------------|---------------------------------|
| ignore | not looked at                | no                              |
| none   | must be there                | no                              |
| props  | must be there                | yes                             |
| soft   | made where missing           | of those that were made         |
| full   | made where missing           | yes                             |
| strict | made; none may be there      | yes                             |

Source: criu(8), restore, --manage-cgroups.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Container, Iterator
from enum import Enum

from cgroups import freezer
from cgroups import properties as props
from cgroups.controllers import cpuset
from cgroups.delegation import enable_controllers
from cgroups.errors import CgroupError, from_os
from cgroups.hierarchies import Hierarchy, Layout
from cgroups.hierarchies import layout as this_layout
from cgroups.model import CgroupController, CgroupDir, CgroupMember, CgroupProperty, CgroupSet, CgroupTree
from cgroups.node import Node
from cgroups.roots import Roots, common_root, replant
from cgroups.undo import UndoStep, undo
from cgroups.writing import SUBTREE_CONTROL, set_perms, write_property
from values import dataclass, field, replace


class Mode(Enum):
    """--manage-cgroups; `SOFT` is the default."""

    IGNORE = "ignore"
    NONE = "none"
    PROPS = "props"
    SOFT = "soft"
    FULL = "full"
    STRICT = "strict"


def parse_mode(text: str) -> Mode:
    """Read the option's value; "" means soft.  Raises CgroupError."""
    try:
        return Mode(text) if text else Mode.SOFT
    except ValueError as err:
        known = ", ".join(mode.value for mode in Mode)
        raise CgroupError(f"--manage-cgroups {text} is not a mode; take one of {known}") from err


@dataclass
class Restored:
    """What a restore has made.

    `held` is written by `settle`, once the cgroup namespaces are made; `late` by `finish`, once the tasks are in.
    """

    tree: CgroupTree
    steps: list[UndoStep] = field(default_factory=list)
    held: list[tuple[str, str, CgroupDir]] = field(default_factory=list)
    """(the root of a namespace, directory, what was saved of it)"""
    late: list[tuple[str, CgroupProperty]] = field(default_factory=list)

    def settle(self, waiting: Container[str] = ()) -> list[UndoStep]:
        """Write what was held back but below the roots that are `waiting`; the steps that take it back."""
        done, before = [entry for entry in self.held if entry[0] not in waiting], len(self.steps)
        self.held = [entry for entry in self.held if entry[0] in waiting]
        for _, path, directory in done:
            _restore_properties(path, directory, self)
        return self.steps[before:]

    def finish(self) -> None:
        """Write the properties that must wait for the tasks: freezer states."""
        for path, prop in self.late:
            write_property(Node(path, 1), prop, self.steps)

    def undo(self) -> list[CgroupError]:
        """Take everything back; the tasks must be gone.  Answers with what could not be."""
        failures = undo(self.steps)
        self.steps.clear()
        return failures


def relocate(tree: CgroupTree, roots: Roots) -> CgroupTree:
    """Apply --cgroup-root: put topmost directories, sets and namespace prefixes below the new roots.

    The old root of a controller is the deepest cgroup that holds all of its saved directories, or of its
    members where no directory was saved.
    """
    old = {c.names: common_root("/" + d.name for d in c.dirs) for c in tree.controllers}
    by_name = {name: root for names, root in old.items() for name in (*names, ",".join(names))}
    for name in {m.name for s in tree.sets for m in s.members} - by_name.keys():
        others = (s for s in tree.sets if s.id != tree.own_set)
        by_name[name] = common_root(m.path for s in others for m in s.members if m.name == name)
    controllers = tuple(_relocate_controller(c, old[c.names], roots) for c in tree.controllers)
    sets = tuple(
        CgroupSet(s.id, tuple(_relocate_member(m, by_name[m.name], roots) for m in s.members)) for s in tree.sets
    )
    return CgroupTree(sets, controllers, tree.of_task, tree.own_set)


def _relocate_controller(controller: CgroupController, old: str, roots: Roots) -> CgroupController:
    new = roots.of(",".join(controller.names))
    dirs = tuple(
        CgroupDir(replant("/" + d.name, old, new).lstrip("/"), d.children, d.properties, d.perms)
        for d in controller.dirs
    )
    return CgroupController(controller.names, dirs, controller.is_threaded)


def _relocate_member(member: CgroupMember, old: str, roots: Roots) -> CgroupMember:
    new = roots.of(member.name)
    path = replant(member.path, old, new)
    if not member.cgns_prefix:
        return CgroupMember(member.name, path)
    prefix = replant(member.path[: member.cgns_prefix], old, new)
    return CgroupMember(member.name, path, 0 if prefix == "/" else len(prefix))


def at_namespace_root(cgroup_set: CgroupSet) -> CgroupSet:
    """Where a task must stand while it makes its cgroup namespace: each path cut at the namespace's root."""
    cut = (CgroupMember(m.name, m.path[: m.cgns_prefix] or m.path) for m in cgroup_set.members)
    return CgroupSet(cgroup_set.id, tuple(cut))


def restore(
    tree: CgroupTree, mode: Mode = Mode.SOFT, roots: Roots | None = None, layout: Layout | None = None
) -> Restored:
    """Make the directories and write their properties; a failure takes everything back.

    Raises CgroupError that names the directory.
    """
    result = Restored(relocate(tree, roots or Roots()))
    if mode is Mode.IGNORE:
        return result
    try:
        for controller in result.tree.controllers:
            _restore_controller(controller, mode, layout or this_layout(), result)
        if roots is not None and mode in (Mode.SOFT, Mode.FULL, Mode.STRICT):
            _make_members(layout or this_layout(), result)
        _check_thawed(layout or this_layout(), result.tree)
    except BaseException as err:
        for failure in result.undo():
            err.add_note(f"while taking it back: {failure}")
        raise
    return result


def _restore_controller(controller: CgroupController, mode: Mode, layout: Layout, result: Restored) -> None:
    name = ",".join(controller.names)
    hierarchy = layout.named(name) or next(filter(None, map(layout.holding, controller.names)), None)
    if hierarchy is None:
        if not any(d.name for d in controller.dirs):
            return  # only the hierarchy's root was used: nothing is lost with it
        raise CgroupError(
            f"the image has cgroups of the hierarchy {name or 'cgroup v2'}, which this host does not "
            "mount; mount it, or restore with --manage-cgroups=ignore"
        )
    tops = {d.name for d in controller.dirs}
    roots = namespace_roots(result.tree, name) if hierarchy.version == 2 else set()
    for path, directory in walk(controller):
        place = hierarchy.directory("/" + path)
        if place != hierarchy.mountpoint:  # that is always there, and belongs to the host
            _check_dir(place, hierarchy, mode)
            lacking = any(not os.path.exists(posixpath.join(place, child.name)) for child in directory.children)
            made = _make(place, hierarchy, result.steps, path in tops)
            if mode in (Mode.PROPS, Mode.FULL, Mode.STRICT) or (mode is Mode.SOFT and made):
                _give(place, directory, _holder("/" + path, roots), "/" + path in roots, result)
            elif mode is Mode.SOFT and lacking:  # children that are made get what they had
                _give(place, _handing_down(directory), _holder("/" + path, roots), "/" + path in roots, result)


def _give(place: str, directory: CgroupDir, holder: str, is_root: bool, result: Restored) -> None:
    """Write the properties, some of them later where there is a `holder`."""
    if holder:
        result.held.append((holder, place, directory))
    _restore_properties(place, _without_held(directory, is_root) if holder else directory, result)


def _handing_down(directory: CgroupDir) -> CgroupDir:
    """Only the controllers that its children have."""
    kept = tuple(prop for prop in directory.properties if prop.name == SUBTREE_CONTROL)
    return replace(directory, properties=tuple(replace(prop, perms=None) for prop in kept), perms=None)


def namespace_roots(tree: CgroupTree, name: str) -> set[str]:
    """The cgroups of a hierarchy that are roots of cgroup namespaces."""
    members = (member for place in tree.sets for member in place.members)
    return {member.path[: member.cgns_prefix] for member in members if member.name == name and member.cgns_prefix}


def _holder(path: str, roots: set[str]) -> str:
    """The innermost root of a namespace that a cgroup is in, "" for none."""
    return max((root for root in roots if path == root or path.startswith(root + "/")), key=len, default="")


def _without_held(directory: CgroupDir, is_root: bool) -> CgroupDir:
    """What does not keep a task out of the root, whose maker has to stand in it (cgroup.subtree_control does)."""
    kept = [p for p in directory.properties if (p.name != SUBTREE_CONTROL if is_root else p.name == "cgroup.type")]
    return replace(directory, properties=tuple(kept))


def _make_members(layout: Layout, result: Restored) -> None:
    """A new root may put tasks where nothing was saved: the hierarchy's root is nobody's own."""
    own = result.tree.own_set
    for member in (member for place in result.tree.sets if place.id != own for member in place.members):
        hierarchy = layout.named(member.name)
        if hierarchy is not None and member.path != "/":
            _make(hierarchy.directory(member.path), hierarchy, result.steps, topmost=True)


def _check_thawed(layout: Layout, tree: CgroupTree) -> None:
    """A task that is put into a frozen cgroup could not be made."""
    places = {(member.name, member.path) for place in tree.sets if place.id != tree.own_set for member in place.members}
    for name, path in sorted(places):
        hierarchy = layout.named(name)
        if hierarchy is not None and freezer.held(directory := hierarchy.directory(path)):
            raise CgroupError(f"cgroup {directory} is frozen, and tasks are to be put into it: thaw it first")


def walk(controller: CgroupController) -> Iterator[tuple[str, CgroupDir]]:
    """Every saved directory with its path from the hierarchy's root, parents first."""
    pending = [(d.name, d) for d in reversed(controller.dirs)]
    while pending:
        path, directory = pending.pop()
        yield path, directory
        pending += [(posixpath.join(path, child.name), child) for child in reversed(directory.children)]


def _check_dir(path: str, hierarchy: Hierarchy, mode: Mode) -> None:
    """Refuse what the mode does not allow."""
    there = Node(path, hierarchy.version).exists()
    if mode is Mode.STRICT and there:
        raise CgroupError(f"cgroup {path} is there already; remove it, or use a mode of --manage-cgroups but strict")
    if mode in (Mode.NONE, Mode.PROPS) and not there:
        raise CgroupError(
            f"cgroup {path} is not there; make it, or use --manage-cgroups=soft ({mode.value} makes none)"
        )


def _make(path: str, hierarchy: Hierarchy, steps: list[UndoStep], topmost: bool) -> bool:
    """mkdir with the missing parents, on v1 with usable cpusets; answers False where it was there already.

    On v2 the parents of a topmost saved directory hand down all controllers.  Below it, each saved
    cgroup.subtree_control says what is handed down: more would forbid threaded cgroups.
    """
    if os.path.exists(path):
        return False
    current = hierarchy.mountpoint
    for part in posixpath.relpath(path, hierarchy.mountpoint).split("/"):
        if hierarchy.version == 2 and topmost:
            enable_controllers(current)
        current = posixpath.join(current, part)
        if os.path.exists(current):
            continue
        try:
            os.mkdir(current)
        except OSError as err:
            raise from_os(f"create cgroup {current}", err) from err
        steps.append(UndoStep("rmdir", current))
    if hierarchy.version == 1 and "cpuset" in hierarchy.controllers:
        cpuset.inherit(hierarchy.mountpoint, path)
    return True


def _restore_properties(path: str, directory: CgroupDir, result: Restored) -> None:
    node = Node(path, 1)
    for prop in directory.properties:
        if prop.name in props.LATE:
            result.late.append((path, prop))
        else:
            write_property(node, prop, result.steps)
        if prop.perms is not None and node.exists(prop.name):
            set_perms(node.file(prop.name), prop.perms)
    if directory.perms is not None:
        set_perms(path, directory.perms)
