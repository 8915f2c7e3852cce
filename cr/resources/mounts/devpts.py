"""devpts: an instance of pseudo terminals (Documentation/filesystems/devpts.rst)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from cr.kernel.mountinfo import Mount


class Devpts(FilesystemResource):
    """Its terminals come back with the tasks that have them open."""

    names = ("devpts",)
    code = 6

    @classmethod
    def options(cls, mount: Mount, context: DumpContext) -> str:
        """Every mount is an instance of its own today, but the kernel does not show the option that once said so."""
        return ",".join(word for word in (mount.options, "newinstance") if word)

    @classmethod
    def fill(cls, device: int, fd: int, context: RestoreContext) -> None:
        """Terminals of which a part of the filesystem is made: a runtime binds the container's to /dev/console."""
        from cr.resources.terminals.terminal_build import allocate, made_with_mounts

        for index in _bound_terminals(device, context):
            master = allocate(lambda: _open_master(fd), index)
            made_with_mounts(context)[device, index] = context.keep(master)


def _bound_terminals(device: int, context: RestoreContext) -> list[int]:
    """Numbers of the terminals that are mounted somewhere by themselves."""
    spaces = {task.ids.mnt_ns_id for task in context.tasks if task.ids is not None}
    tables = [context.images.read("mountpoints", ns) for ns in spaces if context.images.exists("mountpoints", ns)]
    roots = {entry.root[1:] for table in tables for entry in table if entry.root_dev == device}
    return sorted(int(root) for root in roots if root.isascii() and root.isdecimal())


def _open_master(root: int) -> int:
    try:
        return os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=root)
    except OSError as error:
        raise CheckpointError(f"cannot make the terminal of a mount: ptmx of the devpts: {error.strerror}") from error
