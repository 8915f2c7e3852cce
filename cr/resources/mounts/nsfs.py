"""Namespaces that are bound to a path, as `ip netns add` and container engines do (namespaces(7)).

The root of such a mount is `KIND:[INODE]`; mnt_entry.options says `KIND=ID`, the namespace's number in the images.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.filesystem import AUTO, FilesystemResource
from cr.contract.mounts import mounts
from cr.resources.files.namespace_file import NUMBERS

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.kernel.mountinfo import Mount

KINDS = ("cgroup", "ipc", "net", "pid", "time", "user", "uts")
"""Not those of mounts, whose order of making matters (mount_namespaces(7))."""


class Nsfs(FilesystemResource):
    """Mounted when all tasks are born: by what one of them has in /proc/PID/ns."""

    names = ("nsfs",)
    code = AUTO
    everywhere = True

    @classmethod
    def obstacles(cls, mount: Mount) -> Iterable[str]:
        if (kind := mount.root.partition(":")[0]) not in KINDS:
            yield f"{mount} keeps a namespace of the kind {kind}: unmount it"

    @classmethod
    def options(cls, mount: Mount, context: DumpContext) -> str:
        kind, _, rest = mount.root.partition(":")
        known: dict[tuple[str, int], int] = context.once(NUMBERS, dict)
        number = known.get((kind, int(rest.strip("[]"))), 0)
        if not number:
            context.refuse(f"{mount} keeps a {kind} namespace that no task of the tree is in: unmount it")
        for other in mounts(context).values():
            if other.parent == mount.id:
                context.refuse(f"{other} is mounted over {mount}: unmount it")
            elif other.id == mount.parent and _has_peers(other, context):
                context.refuse(f"{mount} is on a mount that others share: make that private (mount --make-private)")
        return f"{kind}={number}"


def _has_peers(mount: Mount, context: DumpContext) -> bool:
    """Whether what is mounted on it is mounted elsewhere, too."""
    others = [other for other in mounts(context).values() if other.id != mount.id]
    return bool(mount.shared) and any(mount.shared in (other.shared, other.master) for other in others)
