"""cgroup.img as the plain values of package cgroups, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgroups.model import CgroupController, CgroupDir, CgroupMember, CgroupProperty, CgroupSet, CgroupTree, Perms

if TYPE_CHECKING:
    from images import messages as m


def to_message(tree: CgroupTree) -> m.cgroup_entry:
    """The engine's own set is left out: a task in it is not moved at restore."""
    from images import messages as m

    entry = m.cgroup_entry()
    for place in tree.sets:
        if place.id != tree.own_set:
            members = [_member(member) for member in place.members]
            entry.sets.add(id=place.id, ctls=members)
    for controller in tree.controllers:
        dirs = [_dir(directory) for directory in controller.dirs]
        entry.controllers.add(cnames=controller.names, dirs=dirs, is_threaded=controller.is_threaded)
    for names in _without_directories(tree):
        entry.controllers.add(cnames=names)
    return entry


def _without_directories(tree: CgroupTree) -> list[tuple[str, ...]]:
    """Hierarchies in which nothing is saved; criu wants to hear of them where there is a cgroup namespace."""
    members = {tuple(member.name.split(",")) for place in tree.sets for member in place.members}
    return sorted(members - {controller.names for controller in tree.controllers})


def _member(member: CgroupMember) -> m.cg_member_entry:
    from images import messages as m

    prefix = member.cgns_prefix or None
    return m.cg_member_entry(name=member.name, path=member.path, cgns_prefix=prefix)


def _dir(directory: CgroupDir) -> m.cgroup_dir_entry:
    from images import messages as m

    return m.cgroup_dir_entry(
        dir_name=directory.name,
        children=[_dir(child) for child in directory.children],
        properties=[_property(prop) for prop in directory.properties],
        dir_perms=_perms(directory.perms),
    )


def _property(prop: CgroupProperty) -> m.cgroup_prop_entry:
    from images import messages as m

    return m.cgroup_prop_entry(name=prop.name, value=prop.value, perms=_perms(prop.perms))


def _perms(perms: Perms | None) -> m.cgroup_perms | None:
    from images import messages as m

    return None if perms is None else m.cgroup_perms(mode=perms.mode, uid=perms.uid, gid=perms.gid)


def from_message(entry: m.cgroup_entry, own_set: int | None) -> CgroupTree:
    """`own_set` is the set of the engine that dumped (inventory_entry.root_cg_set)."""
    sets = tuple(
        CgroupSet(place.id, tuple(CgroupMember(c.name, c.path, c.cgns_prefix) for c in place.ctls))
        for place in entry.sets
    )
    controllers = tuple(
        CgroupController(tuple(c.cnames), tuple(_dir_of(directory) for directory in c.dirs), c.is_threaded)
        for c in entry.controllers
        if c.dirs
    )
    return CgroupTree(sets, controllers, own_set=own_set)


def _dir_of(entry: m.cgroup_dir_entry) -> CgroupDir:
    return CgroupDir(
        entry.dir_name,
        tuple(_dir_of(child) for child in entry.children),
        tuple(
            CgroupProperty(prop.name, prop.value, _perms_of(prop.perms) if prop.HasField("perms") else None)
            for prop in entry.properties
        ),
        _perms_of(entry.dir_perms) if entry.HasField("dir_perms") else None,
    )


def _perms_of(perms: m.cgroup_perms) -> Perms:
    return Perms(perms.mode, perms.uid, perms.gid)
