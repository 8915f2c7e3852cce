"""Files that have no name any more: their metadata and content go into ghost-file-N.img."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.idmaps import gids, uids
from cr.contract.shmem import populated
from cr.kernel import files
from cr.resources.files.remaps import GHOST, add_remap

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from images import messages as m
    from images.entry import ImageWriter

CHUNK = 1 << 20
_BLOCK = 512


def dump_ghost(file: OpenFile, context: DumpContext) -> None:
    """Write the deleted file, once however often it is open, and note that it stands for `file`."""
    key = ("ghost", file.stat.st_dev, file.stat.st_ino)
    obstacle = too_large(file, context)
    if obstacle is not None:
        context.refuse(obstacle)
        return
    number = context.once(key, lambda: _write(file, context))
    add_remap(file.id, GHOST, number, context)


def too_large(file: OpenFile, context: DumpContext) -> str | None:
    """Why a deleted file does not go into the images, if it does not."""
    status, limit = file.stat, context.options.ghost_limit
    size = min(status.st_size, status.st_blocks * _BLOCK) if stat.S_ISREG(status.st_mode) else 0
    if size <= limit:
        return None
    return (
        f"{file} is a deleted file with {size} bytes of data, more than the {limit} that go into the images: "
        f"use --ghost-limit {size}"
    )


def _write(file: OpenFile, context: DumpContext) -> int:
    numbers: list[int] = context.once("ghost numbers", list)
    numbers.append(len(numbers) + 1)
    entry = _describe(file, context)
    with context.images.writer("ghost-file", numbers[-1]) as image:
        if not stat.S_ISREG(file.stat.st_mode):
            image.add(entry)
        else:
            source = files.reopen(file.local, os.O_RDONLY | os.O_NOATIME)
            try:
                _write_content(image, entry, source)
            finally:
                os.close(source)
    return numbers[-1]


def _describe(file: OpenFile, context: DumpContext) -> m.ghost_file_entry:
    from images import messages as m

    status = file.stat
    entry = m.ghost_file_entry(
        uid=uids(context).inside(status.st_uid),
        gid=gids(context).inside(status.st_gid),
        mode=status.st_mode,
        dev=kernel_device(status.st_dev),
        ino=status.st_ino,
    )
    for field, nanoseconds in ((entry.atim, status.st_atime_ns), (entry.mtim, status.st_mtime_ns)):
        field.tv_sec, field.tv_usec = divmod(nanoseconds // 1000, 1_000_000)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        entry.rdev = status.st_rdev
    if stat.S_ISLNK(status.st_mode):
        entry.symlnk_target = os.readlink("", dir_fd=file.local)
    return entry


def kernel_device(dev: int) -> int:
    """A device number as the kernel has it inside: major << 20 | minor."""
    return os.major(dev) << 20 | os.minor(dev)


def _write_content(image: ImageWriter, entry: m.ghost_file_entry, source: int) -> None:
    from images import messages as m

    status = os.fstat(source)
    if status.st_blocks * _BLOCK >= status.st_size:
        image.add(entry, b"".join(_read(source, 0, status.st_size)))
        return
    entry.chunks, entry.size = True, status.st_size
    image.add(entry)
    for start, end in populated(source, status.st_size):
        for offset in range(start, end, CHUNK):
            data = b"".join(_read(source, offset, min(end, offset + CHUNK)))
            image.add(m.ghost_chunk_entry(len=len(data), off=offset), data)


def _read(source: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        data = os.pread(source, min(CHUNK, end - start), start)
        if not data:
            return
        yield data
        start += len(data)
