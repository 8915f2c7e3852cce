"""proc filesystems (Documentation/filesystems/proc.rst): each shows the pid namespace of who mounted it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource
from cr.kernel import proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.kernel.mountinfo import Mount

SHOWN = "pid namespaces that proc filesystems show"
"""Key in the dump's `context.shared` of {device of the filesystem: inode of the pid namespace}."""


class Proc(FilesystemResource):
    """The kernel fills it; which namespace it shows is asked of its first process."""

    names = ("proc",)
    code = 1
    everywhere = True
    has_content = True
    shows = "pid"

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        try:
            inode = os.stat(f"/proc/self/fd/{fd}/1/ns/pid").st_ino
        except PermissionError:
            return  # of a first process with more rights than we have: an outer namespace
        except FileNotFoundError:
            context.refuse(f"{mount} shows a pid namespace that has ended: unmount it")
            return
        context.once(SHOWN, dict[int, int])[mount.device] = inode
        if mount.shared and inode != proc.namespace_inode(context.root.pid, "pid"):
            context.refuse(
                f"{mount} shows an inner pid namespace and is shared, which cannot be restored: make it private "
                f"(mount --make-private {mount.mountpoint})"
            )
