"""Filesystems of which only an empty instance can be restored: mqueue (mq_overview(7)) and pstore."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.kernel.mountinfo import Mount


class Mqueue(FilesystemResource):
    """The POSIX message queues of an ipc namespace as files."""

    names = ("mqueue",)
    code = 14
    everywhere = True
    has_content = True
    shows = "ipc"

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        _demand_empty(mount, fd, context, "POSIX message queues cannot be dumped, remove them with mq_unlink(3) first")


class Pstore(FilesystemResource):
    """What the kernel kept over a crash."""

    names = ("pstore",)
    code = 8
    everywhere = True
    has_content = True

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        _demand_empty(mount, fd, context, f"move its files away, or leave it out with --skip-mnt {mount.mountpoint}")


def _demand_empty(mount: Mount, fd: int, context: DumpContext, way_out: str) -> None:
    names = sorted(os.listdir(f"/proc/self/fd/{fd}"))
    if names:
        context.refuse(f"{mount} is not empty ({', '.join(names)}): {way_out}")
