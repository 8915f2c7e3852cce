"""The mount namespace in which the container's mounts are made, before they become its own.

It is a copy of the host's, all private, with a small tmpfs, the yard, over "/".  The yard holds every source
(s0, s1, ...) and a model of every sharing group (g0, g1, ...), each a mount with nothing on it.
"""

from __future__ import annotations

import os
import stat

from cr import log
from cr.contract.nesting import nesting
from cr.contract.restoring import RestoreContext
from cr.kernel import files
from cr.kernel import mounts as sys
from cr.kernel.mountinfo import mountinfo
from cr.kernel.namespaces import CLONE_NEWNS
from cr.model import CheckpointError
from cr.remote.program import Argument
from cr.resources.mounts.machinery.hands import Hands
from cr.resources.mounts.machinery.nodes import Group, MountPlan, Source
from cr.resources.namespaces.nested_users import descriptor
from cr.values import dataclass, field


@dataclass
class Workshop:
    """Descriptors without a comment are the puppet's."""

    plan: MountPlan
    context: RestoreContext
    hands: Hands
    namespace: Argument = 0
    """the workshop's own mount namespace"""
    home: Argument = 0
    """the host's root directory, as the workshop has it"""
    yard: Argument = 0
    users: dict[int, Argument] = field(default_factory=dict)
    """nested user namespaces that mount namespaces belong to, and those above them, by their ids in the images"""
    copies: list[int] = field(default_factory=list)
    """ours: detached copies of the host's mounts"""
    source_fds: dict[Source, int] = field(default_factory=dict)
    """ours: the root of each source"""

    def open(self) -> None:
        """Enter the new namespace and put every source and group into the yard."""
        self.hands.call("unshare", CLONE_NEWNS)
        self.hands.call("mount", 0, self.hands.text("/"), 0, sys.MS_REC | sys.MS_PRIVATE, 0)
        self.hands.run()
        self._drop_lost_masters()
        given = self._give(self._host_copies() | self._premade())
        self._make_yard()
        for source in self.plan.sources:
            if not source.last:
                self._make_source(source, given.get(source))
        self.hands.run()
        self._fill()
        for group in self.plan.groups:
            self._make_group(group, given.get(group))
        self.hands.close(*given.values())
        self.hands.run()

    def _drop_lost_masters(self) -> None:
        """Where the host's mount is neither shared nor a slave, its slave has nothing to follow: it becomes private."""
        there = {mount.id: mount for mount in mountinfo("self")}
        for group in list(self.plan.groups):
            if group.shared or not group.outside or group.source.path is None:
                continue
            mount = there.get(_mount_id(group.source.path))
            if mount is None or mount.shared or mount.master:
                continue
            self.plan.groups.remove(group)
            for node in self.plan.nodes:
                if node.group is group:
                    node.group = None
                    log.warning(f"{node} was a slave of the host's, which is not shared here: it becomes private")

    def _host_copies(self) -> dict[Source | Group, int]:
        """Detached copies, made by us in the host's namespace; ours."""
        copies: dict[Source | Group, int] = {}
        for source in self.plan.sources:
            if source.path is not None:
                copies[source] = self.context.keep(_copy(source))
                sys.mount_setattr(copies[source], "", sys.AT_EMPTY_PATH, propagation=sys.MS_PRIVATE)
        for group in self.plan.groups:
            if group.outside and group.source.path is not None:
                copies[group] = self.context.keep(_copy(group.source))
        self.copies += copies.values()
        return copies

    def _premade(self) -> dict[Source | Group, int]:
        """Filesystems that we mount ourselves; detached, ours."""
        made: dict[Source | Group, int] = {}
        for source in self.plan.sources:
            if source.resource is not None and source.entry is not None:
                fd = source.resource.premade(source.entry, self.plan.mountpoints(source), self.context)
                if fd is not None:
                    made[source] = self.context.keep(fd)
        self.copies += made.values()
        return made

    def _give(self, copies: dict[Source | Group, int]) -> dict[Source | Group, Argument]:
        """The copies, and the namespace, as descriptors of the puppet, which has no others yet."""
        namespace = os.open(f"/proc/{self.context.root.puppet.tid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        users = {user: descriptor(user, self.context) for user in self._users()}
        ours = [self.context.keep(namespace), *users.values(), *copies.values()]
        numbers: list[int] = []
        for start in range(0, len(ours), 250):
            slots = self.context.give(self.hands.program, ours[start : start + 250])
            numbers += (slot + start for slot in slots)
        self.namespace = numbers[0]
        self.users = dict(zip(users, numbers[1:], strict=False))
        return dict(zip(copies, numbers[1 + len(users) :], strict=True))

    def _users(self) -> list[int]:
        known = nesting(self.context)
        down = [known.users_down(known.root_user, known.owner(number)) for number in self.plan.roots]
        return list(dict.fromkeys(user for users in down for user in users))

    def _make_yard(self) -> None:
        hands = self.hands
        self.home = hands.look("/")
        config = hands.call("fsopen", hands.text("tmpfs"), 1)
        hands.call("fsconfig", config, sys.FSCONFIG_CMD_CREATE, 0, 0, 0)
        self.yard = hands.call("fsmount", config, 1, 0)
        hands.attach(self.yard, "/")
        hands.call("fchdir", self.yard)
        hands.close(config)

    def _make_source(self, source: Source, given: Argument | None) -> None:
        self._make_place(source.name, source)
        if given is not None:
            self.hands.attach(given, source.name)
            return
        flags = source.sb_flags & ~sys.MS_RDONLY if source.writable_first else source.sb_flags
        self.hands.mount(source.device_file, source.name, source.fsname, flags, source.options)

    def _make_place(self, name: str, source: Source) -> None:
        """Something of the right kind to mount on."""
        if source.path is not None and not os.path.isdir(source.path):
            self.hands.call("mknodat", sys.AT_FDCWD, self.hands.text(name), stat.S_IFREG | 0o600, 0)
        else:
            self.hands.call("mkdirat", sys.AT_FDCWD, self.hands.text(name), 0o700)

    def _fill(self) -> None:
        """What was in the filesystems."""
        looks = {source: self.hands.look(source.name) for source in self.plan.sources if not source.last}
        self.hands.run()
        for source, result in looks.items():
            self.source_fds[source] = fd = self.hands.fetch(result)
            if source.path is None and source.resource is not None:
                source.resource.fill(source.device, fd, self.context)
        self.hands.close(*looks.values())

    def _make_group(self, group: Group, given: Argument | None) -> None:
        """A mount of the whole source that is in the group; the mounts proper take their sharing from it."""
        hands, note = self.hands, f"sharing group {group.shared} of {group.source.name}"
        tree = given if given is not None else self._model(group, note)
        self._make_place(group.name, group.source)
        hands.attach(tree, group.name)
        if group.peer is not None:
            peer = hands.look(group.peer.name)
            hands.attach_at(peer, tree, note, sys.MOVE_MOUNT_SET_GROUP)
            hands.close(peer)
        else:
            if group.master:
                hands.set_attributes(tree, note, kind=sys.MS_SLAVE)
            if group.shared:
                hands.set_attributes(tree, note, kind=sys.MS_SHARED)
        if given is None:
            hands.close(tree)

    def _model(self, group: Group, note: str) -> Argument:
        """A copy of its master, whose slave it becomes, or of the bare source."""
        master = group.master_group
        original = self.hands.look(master.name if master is not None and group.peer is None else group.source.name)
        tree = self.hands.clone(original, note)
        self.hands.close(original)
        return tree

    def seal(self) -> None:
        """Filesystems that were read-only as a whole become so, now that their content is there."""
        for source in self.plan.sources:
            if source.writable_first and source.sb_flags & sys.MS_RDONLY:
                flags = source.sb_flags | sys.MS_REMOUNT
                self.hands.mount(source.device_file, source.name, source.fsname, flags, source.options)


def _mount_id(path: str) -> int:
    """Of the mount that a path of the host's lies on; 0 if there is no such path, which is told where it is opened."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return files.mount_id(fd)
    finally:
        os.close(fd)


def _copy(source: Source) -> int:
    assert source.path is not None
    try:
        return sys.open_tree(sys.AT_FDCWD, source.path, sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"cannot mount {source.path} ({source.why}): {error.strerror}") from error
