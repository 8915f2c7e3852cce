"""Put one mount namespace together from the workshop's sources, make it the puppet's, and drop all else.

Everything is attached while private, so that nothing spreads; sharing is set at the end, mount by mount
(MOVE_MOUNT_SET_GROUP of move_mount(2), Linux 5.15).
"""

from __future__ import annotations

from cr.contract.mounts import PlacedMount, placed
from cr.kernel import mounts as sys
from cr.model import CheckpointError
from cr.remote.program import Argument
from cr.resources.mounts.machinery.hands import Hands
from cr.resources.mounts.machinery.nodes import Node, Source, walk
from cr.resources.mounts.machinery.workshop import Workshop

_COVERS = 8
"""How many mounts may lie over the host's root directory."""
_ATTRIBUTES = {
    sys.MS_RDONLY: sys.MOUNT_ATTR_RDONLY,
    sys.MS_NOSUID: sys.MOUNT_ATTR_NOSUID,
    sys.MS_NODEV: sys.MOUNT_ATTR_NODEV,
    sys.MS_NOEXEC: sys.MOUNT_ATTR_NOEXEC,
    sys.MS_NODIRATIME: sys.MOUNT_ATTR_NODIRATIME,
    sys.MS_NOSYMFOLLOW: sys.MOUNT_ATTR_NOSYMFOLLOW,
}
CHANGEABLE = sum(_ATTRIBUTES.values()) | sys.MOUNT_ATTR__ATIME


def attributes(flags: int) -> int:
    """MOUNT_ATTR_* for the MS_* bits of mnt_entry.flags."""
    found = sum(attribute for bit, attribute in _ATTRIBUTES.items() if flags & bit)
    if flags & sys.MS_NOATIME:
        return found | sys.MOUNT_ATTR_NOATIME
    return found | (sys.MOUNT_ATTR_STRICTATIME if flags & sys.MS_STRICTATIME else sys.MOUNT_ATTR_RELATIME)


class Assembly:
    """One namespace: the puppet is in a copy of the workshop, its current directory is the yard."""

    def __init__(self, workshop: Workshop, root: Node) -> None:
        self.workshop, self.hands, self.root = workshop, workshop.hands, root
        self.trees: dict[Node, Argument] = {}
        """each mount as a descriptor of the puppet"""
        self._sources: dict[Source, Argument] = {}
        self._home: Argument = 0

    def build(self) -> None:
        """Every mount at its place below the root, which is in the yard."""
        hands = self.hands
        self._home = hands.look("/")
        nodes = list(walk(self.root))
        late = {node for first in nodes if first.source.last and first is not self.root for node in walk(first)}
        for node in sorted(nodes, key=lambda node: node in late):
            hands.breathe()
            self.trees[node] = self._make(node)
            self._attach(node)
        hands.run()

    def prepare(self) -> None:
        """Every mount, as yet nowhere attached: to be put together by another puppet with fewer rights."""
        for node in walk(self.root):
            self.hands.breathe()
            self.trees[node] = self._make(node)
        self.hands.run()

    def hand_over(self, hands: Hands) -> None:
        """All else is up to this puppet, a copy of the one before; `prepare` was done, it is in another namespace."""
        own, self.hands = self.hands, hands
        self._home = hands.look("/")
        for group in {node.group for node in self.trees if node.group is not None}:
            if group.shared:  # in the copy of the workshop for another user namespace it is a slave only
                model = hands.look(group.name)
                hands.set_attributes(model, f"sharing group {group.shared}", kind=sys.MS_SHARED)
                hands.close(model)
        for node in self.trees:
            hands.breathe()
            self._attach(node)
        hands.run()
        own.close(*self.trees.values(), *self._sources.values())

    def _make(self, node: Node) -> Argument:
        """A detached mount, a descriptor of the puppet."""
        hands, note = self.hands, str(node)
        base = self._source(node.source)
        origin = hands.look_inside(base, node.part, note, triggers=node.source.triggers) if node.part else base
        tree = hands.clone(origin, note)
        hands.set_attributes(tree, note, to_set=attributes(node.entry.flags), to_clear=CHANGEABLE)
        if origin is not base:
            hands.close(origin)
        return tree

    def _attach(self, node: Node) -> None:
        """At its place, in the yard or on another mount."""
        hands, tree, note = self.hands, self.trees[node], str(node)
        if node.parent is None:
            place = f"n{node.ns_id}"
            hands.call("mkdirat", sys.AT_FDCWD, hands.text(place), 0o700)
            hands.attach(tree, place)
            return
        parent, triggers = self.trees[node.parent], node.parent.source.triggers
        target = hands.look_inside(parent, node.where, note, triggers=triggers) if node.where else parent
        hands.attach_at(tree, target, note)
        if target is not parent:
            hands.close(target)

    def _source(self, source: Source) -> Argument:
        if source not in self._sources:
            if source.last:
                self._mount_last(source)
            self._sources[source] = self.hands.look(source.name)
        return self._sources[source]

    def _mount_last(self, source: Source) -> None:
        """A filesystem whose options name paths of the container."""
        hands, yard = self.hands, self.hands.look(".")
        hands.call("mkdirat", sys.AT_FDCWD, hands.text(source.name), 0o700, may_fail=True, note="another one's yard")
        hands.call("fchdir", self.trees[self.root])
        hands.call("chroot", hands.text("."))
        hands.call("fchdir", yard)
        hands.mount(source.device_file, source.name, source.fsname, source.sb_flags, source.options)
        hands.call("fchdir", self._home)
        hands.call("chroot", hands.text("."))
        hands.call("fchdir", yard)
        hands.close(yard)

    def take_place(self) -> None:
        """The root becomes the namespace's root; everything that is not of the container goes."""
        hands = self.hands
        models = {node.group: None for node in self.trees if node.group is not None}
        groups = {group: hands.look(group.name) for group in models}
        hands.close(*self._sources.values())
        hands.call("fchdir", self.trees[self.root])
        hands.call("pivot_root", hands.text("."), hands.text("."))
        for node, tree in self.trees.items():
            hands.breathe()
            if node.group is not None:
                hands.attach_at(groups[node.group], tree, f"sharing of {node}", sys.MOVE_MOUNT_SET_GROUP)
            elif node.entry.flags & sys.MS_UNBINDABLE:
                hands.set_attributes(tree, str(node), kind=sys.MS_UNBINDABLE)
        hands.call("fchdir", self._home)
        for _ in range(_COVERS):  # the yard, the old root; then there is nothing left to take away
            hands.call("umount2", hands.text("."), sys.MNT_DETACH, may_fail=True)
        hands.call("chdir", hands.text("/"))
        hands.close(*groups.values())
        hands.run()
        self._check()

    def _check(self) -> None:
        """Nothing of the host's may be left behind in the container."""
        from cr.kernel.mountinfo import mountinfo

        there = mountinfo(self.hands.tid)
        if len(there) != len(self.trees):
            raise CheckpointError(
                f"the mount namespace has {len(there)} mounts where {len(self.trees)} belong: "
                "restore from a root directory that is a mount of its own, not from a chroot"
            )

    def keep(self) -> None:
        """Remember every mount for the files that are opened in it, and free the puppet of descriptors."""
        table = placed(self.workshop.context)
        for node, tree in self.trees.items():
            source_fd = self.workshop.source_fds.get(node.source, -1)
            table[node.entry.mnt_id] = PlacedMount(node.entry.mountpoint, self.hands.fetch(tree), source_fd, node.part)
        self.hands.close(self._home, *self.trees.values())
