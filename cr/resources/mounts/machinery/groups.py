"""Sharing of mount events (Documentation/filesystems/sharedsubtree.rst), worked out from shared and master ids."""

from __future__ import annotations

from cr.model import BadImages
from cr.resources.mounts.machinery.external import AUTODETECTED
from cr.resources.mounts.machinery.nodes import Group, Node, Source


def plan_groups(nodes: list[Node]) -> list[Group]:
    """Give every mount that shares or is slave its group; all groups, masters before their slaves."""
    planner = _Groups(nodes)
    for node in sorted(nodes, key=lambda node: len(node.source.root)):  # what shows most can be the others' model
        entry = node.entry
        if entry.shared_id or entry.master_id:
            node.group = planner.group(node.source, entry.shared_id, entry.master_id, set())
            if entry.shared_id and entry.ext_key == AUTODETECTED and not entry.internal_sharing:
                node.group.outside = True  # it was one group with the host's mount, found under the same path again
    return planner.made


class _Groups:
    def __init__(self, nodes: list[Node]) -> None:
        self.made: list[Group] = []
        self._masters = {node.entry.shared_id: node.entry.master_id for node in nodes if node.entry.shared_id}
        self._sources = {node.entry.shared_id: node.source for node in reversed(nodes) if node.entry.shared_id}

    def group(self, source: Source, shared: int, master: int, under_way: set[int]) -> Group:
        for known in self.made:
            if (known.source, known.shared, known.master) == (source, shared, master):
                return known
        if shared in under_way:
            raise BadImages(f"the sharing group {shared} of mounts is its own master")
        found = Group(0, source, shared, master)
        if shared:
            same = (known for known in self.made if (known.shared, known.master) == (shared, master))
            found.peer = next(same, None)
        if master in self._masters:
            self._tie(found, under_way | {shared} - {0})
        elif master:
            found.outside = True
        found.number = len(self.made)
        self.made.append(found)
        return found

    def _tie(self, group: Group, under_way: set[int]) -> None:
        """A slave is made from its master, which must be there for the same source."""
        master = group.master
        first = self.group(self._sources[master], master, self._masters[master], under_way)
        group.master_group = first
        if first.source is not group.source:
            group.master_group = self.group(group.source, master, self._masters[master], under_way)
