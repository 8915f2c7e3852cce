"""Contents of shared memory objects: anonymous shared mappings, memfds, System V segments.

An object is written once, however many tasks map it: pagemap-shmem-SHMID with its pages; addresses in
it are offsets into the object.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images.pages import PagesWriter

PAGE = os.sysconf("SC_PAGE_SIZE")
_PIECE = 1 << 22


class PageIds:
    """Numbers of pages-N.img files, over all address spaces and objects."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        self.last += 1
        return self.last


def next_pages_id(context: DumpContext) -> int:
    return context.once("pages ids", PageIds).next()


def dump_shmem(context: DumpContext, shmid: int, fd: int, size: int) -> None:
    """Write the populated pages of the object behind `fd` (of `size` bytes), unless that is done already."""
    context.once(("shmem", shmid), lambda: _dump(context, shmid, fd, size))


def _dump(context: DumpContext, shmid: int, fd: int, size: int) -> bool:
    from images.pages import PagesWriter

    with PagesWriter(context.images, "pagemap-shmem", shmid, next_pages_id(context)) as writer:
        if is_huge(fd):
            _dump_huge(context, fd, size, writer)
            return True
        for start, end in populated(fd, size):
            pages = -(-(end - start) // PAGE)
            _send(writer.fd, fd, start, end - start)
            if padding := pages * PAGE - (end - start):
                os.write(writer.fd, bytes(padding))
            writer.present(start, pages)
            context.report.shpages_written += pages
    return True


def is_huge(fd: int) -> bool:
    """Whether a memory object is of huge pages (hugetlbfs), which has no sendfile(2), write(2) nor holes."""
    return os.fstatvfs(fd).f_bsize > PAGE


def _dump_huge(context: DumpContext, fd: int, size: int, writer: PagesWriter) -> None:
    step = os.fstatvfs(fd).f_bsize
    for start in range(0, size, step):
        content = os.pread(fd, step, start)
        if content.count(0) < len(content):
            writer.append(start, content)
            context.report.shpages_written += len(content) // PAGE


def populated(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the data in a sparse file (lseek(2) SEEK_DATA), page-aligned but for the file's end."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = min(size, os.lseek(fd, start, os.SEEK_HOLE))
        if start < position:
            yield start, position


def restore_shmem(context: RestoreContext, shmid: int, fd: int) -> None:
    """Fill a new object, which has its full size already, with the pages of the image."""
    from images.pages import PagemapReader

    with PagemapReader(context.images, "pagemap-shmem", shmid) as reader:
        end = os.fstat(fd).st_size
        for source in reader.sources():
            if source.offset is None:
                raise CheckpointError(f"shared memory object {shmid} has lazy pages: restore it with --lazy-pages")
            pages = source.directory.open_raw("pages", source.pages_id)
            try:
                length = min(source.nr_pages * PAGE, end - source.vaddr)
                _place(fd, source.vaddr, pages, source.offset, length)
                context.report.pages_restored += source.nr_pages
            finally:
                os.close(pages)


def _place(fd: int, position: int, pages: int, offset: int, length: int) -> None:
    if not is_huge(fd):
        os.lseek(fd, position, os.SEEK_SET)
        _send(fd, pages, offset, length)
        return
    with mmap.mmap(fd, 0) as memory:
        memory[position : position + length] = os.pread(pages, length, offset)


def _send(output: int, source: int, offset: int, length: int) -> None:
    """Copy from `offset` of one file to where the other stands; of huge pages, which sendfile(2) does not know, too."""
    while length:
        try:
            done = os.sendfile(output, source, offset, length)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            done = _copy(output, source, offset, min(length, _PIECE))
        if not done:
            raise CheckpointError("a pages image or shared memory object ended while it was copied")
        offset += done
        length -= done


def _copy(output: int, source: int, offset: int, length: int) -> int:
    data = os.pread(source, length, offset)
    try:
        return os.write(output, data)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    position = os.lseek(output, 0, os.SEEK_CUR)  # files of huge pages are written by mapping them
    with mmap.mmap(output, os.fstat(output).st_size) as memory:
        memory[position : position + len(data)] = data
    os.lseek(output, len(data), os.SEEK_CUR)
    return len(data)
