"""Namespaces that are bound to a path come when all tasks are born: until then there is nothing to mount."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.mounts import inside, placed
from cr.kernel import mounts as sys
from cr.kernel.namespaces import CLONE_NEWNS, FLAGS
from cr.kernel.visits import fetch_all
from cr.model import BadImages, CheckpointError
from cr.resources.files.namespace_file import holder
from cr.resources.mounts.machinery.assembly import CHANGEABLE, attributes
from cr.resources.mounts.machinery.hands import INSIDE
from cr.resources.mounts.nsfs import Nsfs

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from images import messages as m


def set_aside(tables: dict[int, list[m.mnt_entry]], context: RestoreContext) -> dict[int, list[m.mnt_entry]]:
    """The tables without them; see to it that they are mounted later."""
    left = {}
    for ns_id, entries in tables.items():
        mine = [entry for entry in entries if entry.fsname in Nsfs.names]
        left[ns_id] = [entry for entry in entries if entry not in mine]
        if mine:
            context.when_grown.append(lambda ns_id=ns_id, mine=mine: _mount(ns_id, mine, context))  # type: ignore[misc]
    return left


def _mount(ns_id: int, entries: list[m.mnt_entry], context: RestoreContext) -> None:
    """From inside of the mount namespace."""
    task = context.first_in("mnt_ns_id", ns_id)
    namespace = os.open(f"/proc/{task.puppet.tid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    bound = [_open(entry, context) for entry in entries]
    try:
        for entry, fd in zip(entries, bound, strict=True):
            _attach(entry, fd, namespace, context)
    finally:
        for fd in (namespace, *bound):
            os.close(fd)


def _open(entry: m.mnt_entry, context: RestoreContext) -> int:
    kind, _, number = entry.options.partition("=")
    if kind not in FLAGS or not number.isdigit():
        raise BadImages(f"the mount {entry.mountpoint} is of no namespace: {entry.options}")
    place = holder(kind, int(number), f"the mount {entry.mountpoint}", context)
    return os.open(f"/proc/{place}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def _attach(entry: m.mnt_entry, bound: int, namespace: int, context: RestoreContext) -> None:
    parent = placed(context).get(entry.parent_mnt_id)
    if parent is None:
        raise BadImages(f"the mount {entry.mountpoint} stands on no other mount of its namespace")

    def attach() -> list[int]:
        tree = sys.open_tree(bound, "", sys.OPEN_TREE_CLONE | sys.AT_EMPTY_PATH | sys.OPEN_TREE_CLOEXEC)
        sys.mount_setattr(tree, "", sys.AT_EMPTY_PATH, attributes(entry.flags), CHANGEABLE)
        sys.attach(tree, sys.openat2(parent.fd, inside(parent, entry.mountpoint), os.O_PATH, resolve=INSIDE))
        return []

    try:
        fetch_all([(namespace, CLONE_NEWNS)], attach)
    except OSError as error:
        raise CheckpointError(f"a namespace cannot be mounted at {entry.mountpoint}: {error.strerror}") from error
