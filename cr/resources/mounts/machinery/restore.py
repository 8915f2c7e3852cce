"""Bring the mount namespaces of a tree back: all of them through the root puppet, before any file is opened."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.mounts import placed
from cr.contract.nesting import nesting
from cr.contract.restoring import RestoreContext
from cr.kernel.mountinfo import mountinfo
from cr.kernel.mounts import MNT_DETACH
from cr.kernel.namespaces import CLONE_NEWNS, CLONE_NEWUSER
from cr.resources.mounts.machinery.assembly import Assembly
from cr.resources.mounts.machinery.bound_namespaces import set_aside
from cr.resources.mounts.machinery.deleted import DeletedParts
from cr.resources.mounts.machinery.external import MountOptions
from cr.resources.mounts.machinery.hands import Hands
from cr.resources.mounts.machinery.inner_views import replace_later
from cr.resources.mounts.machinery.labels import relabel
from cr.resources.mounts.machinery.plan import make_plan, root_of
from cr.resources.mounts.machinery.workshop import Workshop

if TYPE_CHECKING:
    from images import messages as m


def restore(ns_id: int, context: RestoreContext) -> None:
    """Fill the root puppet's namespace, and prepare the others."""
    tables = set_aside({number: _read(number, context) for number in _namespaces(context)}, context)
    directory = context.options.root or _own_root(tables[ns_id])
    plan = make_plan(tables, MountOptions.of(context.options), directory)
    workshop = Workshop(plan, context, Hands(context))
    workshop.open()
    with DeletedParts(workshop) as deleted:
        for number, root in reversed(plan.roots.items()):
            assembly = Assembly(workshop, root)
            if nesting(context).owner(number) != nesting(context).root_user:
                _assemble_elsewhere(number, assembly, workshop)
                continue
            if number != ns_id:
                workshop.hands.call("unshare", CLONE_NEWNS)
            assembly.build()
            if number == ns_id:
                deleted.remove()
                workshop.seal()
            assembly.take_place()
            assembly.keep()
            if number != ns_id:
                _put_aside(number, workshop)
    workshop.hands.call("close_range", 1, 0x7FFFFFFF, 0)
    workshop.hands.run()
    _become_root(context)
    replace_later(plan, context)
    context.before_release.append(partial(_let_go, workshop))


def _own_root(entries: list[m.mnt_entry]) -> str:
    """Without --root: our own root directory where that is what the tasks had, as after unshare(1) --mount; else ""."""
    theirs = root_of(entries)
    ours = [mount for mount in mountinfo("self") if mount.mountpoint == "/"]
    return "/" if ours and (ours[-1].device, ours[-1].root) == (theirs.root_dev, theirs.root) else ""


def _let_go(workshop: Workshop) -> None:
    """Mounts of which we hold descriptors are busy: a task that runs again may want to unmount them."""
    context = workshop.context
    for mount in placed(context).values():
        context.drop(mount.fd)
    placed(context).clear()
    for fd in {*workshop.copies, *workshop.source_fds.values()}:
        context.drop(fd)


def _namespaces(context: RestoreContext) -> list[int]:
    """Ids of all mount namespaces of the tree; the root's first."""
    found = [task.ids.mnt_ns_id for task in context.tasks if task.ids is not None]
    return [number for number in dict.fromkeys(found) if context.images.exists("mountpoints", number)]


def _read(ns_id: int, context: RestoreContext) -> list[m.mnt_entry]:
    """The mounts of an image in the order of mounting, without those that --skip-mnt leaves out."""
    entries: list[m.mnt_entry] = list(reversed(context.images.read("mountpoints", ns_id)))
    for entry in entries:
        entry.options = relabel(entry.options, context.options.lsm_mount_context)
    skipped = MountOptions.of(context.options).skipped
    gone = {entry.mnt_id for entry in entries if entry.mountpoint in skipped}
    while more := {e.mnt_id for e in entries if e.parent_mnt_id in gone} - gone:
        gone |= more
    return [entry for entry in entries if entry.mnt_id not in gone]


def _put_aside(ns_id: int, workshop: Workshop) -> None:
    """A finished namespace is kept for the tasks that belong there; the puppet goes back to the workshop."""
    context, hands = workshop.context, workshop.hands
    hands.run()
    path = f"/proc/{context.root.puppet.tid}/ns/mnt"
    context.shared["mount namespace", ns_id] = context.keep(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    hands.call("setns", workshop.namespace, CLONE_NEWNS)
    hands.call("fchdir", workshop.home)
    hands.call("chroot", hands.text("."))
    hands.call("fchdir", workshop.yard)


def _assemble_elsewhere(ns_id: int, assembly: Assembly, workshop: Workshop) -> None:
    """A namespace that belongs to a nested user namespace is made by a puppet that is in there.

    What its copy of the workshop shows is locked (mount_namespaces(7)): so this is the bare yard, which as the root
    can be left behind, and the mounts come to it detached.
    """
    context, known = workshop.context, nesting(workshop.context)
    assembly.prepare()
    with context.passing_child() as worker:
        hands = Hands(context, worker)
        hands.call("unshare", CLONE_NEWNS)
        hands.call("pivot_root", hands.text("."), hands.text("."), note="the yard is all that is left")
        hands.call("umount2", hands.text("."), MNT_DETACH)
        for user in known.users_down(known.root_user, known.owner(ns_id)):
            hands.call("setns", workshop.users[user], CLONE_NEWUSER)
        hands.call("unshare", CLONE_NEWNS)
        assembly.hand_over(hands)
        assembly.take_place()
        assembly.keep()
        path = f"/proc/{hands.tid}/ns/mnt"
        context.shared["mount namespace", ns_id] = context.keep(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def _become_root(context: RestoreContext) -> None:
    """From now on paths are those of the container."""
    root = os.open(f"/proc/{context.root.puppet.tid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if context.root_fd >= 0:
        os.close(context.root_fd)
    context.root_fd = root
