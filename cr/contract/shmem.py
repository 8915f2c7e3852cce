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

from cr.contract.page_store import copy_file
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.page_store import PageWriter
    from cr.contract.restoring import RestoreContext

PAGE = os.sysconf("SC_PAGE_SIZE")


def dump_shmem(context: DumpContext, shmid: int, fd: int, size: int) -> None:
    """Write the populated pages of the object behind `fd` (of `size` bytes), unless that is done already."""
    context.once(("shmem", shmid), lambda: _dump(context, shmid, fd, size))


def _dump(context: DumpContext, shmid: int, fd: int, size: int) -> bool:
    with context.pages.writer("pagemap-shmem", shmid) as writer:
        if is_huge(fd):
            _dump_huge(context, fd, size, writer)
            return True
        for start, end in populated(fd, size):
            pages = -(-(end - start) // PAGE)
            writer.present(start, pages)
            writer.store_file(fd, start, end - start)
            if padding := pages * PAGE - (end - start):
                writer.store(bytes(padding))
            context.report.shpages_written += pages
    return True


def is_huge(fd: int) -> bool:
    """Whether a memory object is of huge pages (hugetlbfs), which has no sendfile(2), write(2) nor holes."""
    return os.fstatvfs(fd).f_bsize > PAGE


def _dump_huge(context: DumpContext, fd: int, size: int, writer: PageWriter) -> None:
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
        copy_file(fd, pages, offset, length)
        return
    with mmap.mmap(fd, 0) as memory:
        memory[position : position + length] = os.pread(pages, length, offset)
