"""Whether a task could come into its namespaces again, with the rights that its parent has.

A namespace is made by a task in the user namespace that owns it, and joined by one that has rights in that
(namespaces(7)): who was born with fewer has come there in a way that a restore cannot go.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.kernel import proc
from cr.kernel.namespaces import open_namespace, owning_user_namespace, within

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask

_KINDS = ("pid", "net", "ipc", "uts", "mnt", "cgroup")


def obstacles(task: DumpTask, context: DumpContext) -> Iterator[str]:
    """Asked of one task after the other, parents first."""
    seen: set[tuple[str, int]] = context.once(("namespaces made", bool(context.tasks)), set)
    for kind in _KINDS:
        key = kind, proc.namespace_inode(task.pid, kind)
        if task.parent is not None and key[1] != proc.namespace_inode(task.parent.pid, kind):
            yield from _obstacles(task, kind, made=kind == "mnt" or key in seen)
        seen.add(key)


def _obstacles(task: DumpTask, kind: str, *, made: bool) -> Iterator[str]:
    assert task.parent is not None
    owner = _owner(task, kind)
    if owner < 0:
        return  # the host's, which only the host's root joins
    try:
        inode = os.fstat(owner).st_ino
        if not within(owner, proc.namespace_inode(task.parent.pid, "user")):
            yield (
                f"{task} is in a {kind} namespace over which its parent has no rights, so that it could not come there "
                "again: let it end before the dump"
            )
    finally:
        os.close(owner)
    with open_namespace(task.pid, "user") as user:
        if not made and kind != "pid" and not within(user, inode):
            yield (
                f"{task} has joined the {kind} namespace of a user namespace that it is not in, before all others that "
                "are there: let it end before the dump"
            )


def _owner(task: DumpTask, kind: str) -> int:
    """A descriptor of the user namespace that a namespace belongs to; -1 where that is above our own."""
    with open_namespace(task.pid, kind) as fd:
        try:
            return owning_user_namespace(fd)
        except PermissionError:
            return -1
