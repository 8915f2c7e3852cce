"""Filesystems that can only be restored empty: pstore, hugetlbfs, and mqueue where its queues are not the tree's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.filesystem import AUTO, FilesystemResource
from cr.resources.namespaces import posix_queues

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.kernel.mountinfo import Mount


class Mqueue(FilesystemResource):
    """The POSIX message queues of an ipc namespace as files; in the images they are the namespace's."""

    names = ("mqueue",)
    code = 14
    everywhere = True
    has_content = True
    shows = "ipc"

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        if mount.device not in posix_queues.devices(context):
            way_out = "run the tasks in an ipc namespace of theirs, or remove these queues with mq_unlink(3)"
            _demand_empty(mount, fd, context, way_out)


class Pstore(FilesystemResource):
    """What the kernel kept over a crash."""

    names = ("pstore",)
    code = 8
    everywhere = True
    has_content = True

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        _demand_empty(mount, fd, context, f"move its files away, or leave it out with --skip-mnt {mount.mountpoint}")


class Hugetlbfs(FilesystemResource):
    """Files of huge pages (Documentation/admin-guide/mm/hugetlbpage.rst), which write(2) does not reach."""

    names = ("hugetlbfs",)
    code = AUTO
    has_content = True

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        _demand_empty(mount, fd, context, "remove these files of huge pages")


def _demand_empty(mount: Mount, fd: int, context: DumpContext, way_out: str) -> None:
    names = sorted(os.listdir(f"/proc/self/fd/{fd}"))
    if names:
        context.refuse(f"{mount} is not empty ({', '.join(names)}): {way_out}")
