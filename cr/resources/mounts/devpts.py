"""devpts: an instance of pseudo terminals (Documentation/filesystems/devpts.rst)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource
from cr.contract.terminals import allocate, bound_masters

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from cr.kernel.mountinfo import Mount


class Devpts(FilesystemResource):
    """Its terminals come back with the tasks that have them open, but for those that are bind mounted (/dev/console):
    they must be there before the mounts."""

    names = ("devpts",)
    code = 6
    has_content = True

    @classmethod
    def options(cls, mount: Mount, context: DumpContext) -> str:
        """Every mount is an instance of its own today, but the kernel does not show the option that once said so."""
        return ",".join(word for word in (mount.options, "newinstance") if word)

    @classmethod
    def fill(cls, device: int, fd: int, context: RestoreContext) -> None:
        numbers = [int(number) for number in _bound(device, context)]
        for index in sorted(set(numbers)):
            master = allocate(lambda: os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=fd), index)
            bound_masters(context)[device, index] = context.keep(master)


def _bound(device: int, context: RestoreContext) -> Iterator[str]:
    """The terminals of this instance that have mounts of their own."""
    for ids in {task.ids.mnt_ns_id for task in context.tasks if task.ids is not None}:
        if context.images.exists("mountpoints", ids):
            for entry in context.images.read("mountpoints", ids):
                if entry.root_dev == device and (match := re.fullmatch(r"/(\d+)", entry.root)):
                    yield match[1]
