"""tmpfs (tmpfs(5)): files in memory, which go into the images as a compressed archive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from cr.kernel.mountinfo import Mount


class Tmpfs(FilesystemResource):
    """tmpfs-dev-N.tar.gz.img, N the device number of the filesystem."""

    names = ("tmpfs",)
    code = 5
    has_content = True

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        from cr.resources.mounts.machinery.archive import pack

        image = context.images.open_raw("tmpfs-dev", mount.device, write=True)
        try:
            pack(fd, image, context)
        finally:
            os.close(image)

    @classmethod
    def fill(cls, device: int, fd: int, context: RestoreContext) -> None:
        from cr.resources.mounts.machinery.unpack import unpack

        if not context.images.exists("tmpfs-dev", device):
            return  # nothing was in it
        image = context.images.open_raw("tmpfs-dev", device)
        try:
            unpack(image, fd, context)
        finally:
            os.close(image)
