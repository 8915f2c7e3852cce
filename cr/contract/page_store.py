"""Where the pages of a dump go: into the image directory, or to a page server."""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING, Protocol, Self

from cr.model import CheckpointError
from images.pages import PagesWriter

if TYPE_CHECKING:
    from types import TracebackType

    from images.directory import ImageDirectory

_PIECE = 1 << 22


class PageWriter(Protocol):
    """The pages of one object: runs are announced in ascending order, their bytes follow one another.

    Use it as a context manager, or call `__exit__` from whichever thread is the last.
    """

    pages_id: int | None
    """number of the pages image, None where it is not ours to know"""

    @property
    def file(self) -> int | None:
        """The descriptor of the file that holds just the bytes, where there is one: `store_at` writes there."""

    def present(self, vaddr: int, nr_pages: int, *, lazy: bool = False) -> None:
        """Pages whose bytes are stored; `lazy` ones may be brought on demand by a restore."""

    def in_parent(self, vaddr: int, nr_pages: int) -> None:
        """Pages unchanged since the parent snapshot."""

    def lazy(self, vaddr: int, nr_pages: int) -> None:
        """Pages that stay with the source for now."""

    def append(self, vaddr: int, data: bytes | memoryview, *, lazy: bool = False) -> None:
        """Announce and store whole pages."""

    def store(self, data: bytes | memoryview) -> None:
        """The next bytes."""

    def store_at(self, data: memoryview, offset: int) -> None:
        """Bytes at an offset among those of all announced pages; from any thread, in any order of calls."""

    def store_file(self, fd: int, offset: int, size: int) -> None:
        """The next bytes, from a file."""

    def abandon(self) -> None:
        """Not all bytes will come: whoever waits for others shall fail."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PageStore(Protocol):
    """Makes the writers of a dump."""

    def writer(self, kind: str, number: int) -> PageWriter:
        """For pagemap (`number`: a pid) or pagemap-shmem (the number of a shared memory object)."""

    def parent_has(self, kind: str, number: int) -> bool | None:
        """Whether the parent snapshot there has pages of that object; None where the parent is at hand, to look."""

    def finish(self) -> None:
        """All is stored: what comes after may rely on it.  CheckpointError where that is not so."""


class LocalPages:
    """Pages in the image directory itself."""

    def __init__(self, images: ImageDirectory) -> None:
        self._images = images
        self._last = 0

    def writer(self, kind: str, number: int) -> LocalWriter:
        self._last += 1
        return LocalWriter(self._images, kind, number, self._last)

    def parent_has(self, kind: str, number: int) -> bool | None:
        return None

    def finish(self) -> None:
        """Each writer has seen to that."""


class LocalWriter(PagesWriter):
    """A pair of pagemap and pages image."""

    def __init__(self, images: ImageDirectory, kind: str, number: int, pages_id: int) -> None:
        super().__init__(images, kind, number, pages_id)
        self.pages_id: int | None = pages_id

    @property
    def file(self) -> int | None:
        return self.fd

    def store_file(self, fd: int, offset: int, size: int) -> None:
        copy_file(self.fd, fd, offset, size)

    def abandon(self) -> None:
        """Nobody waits for anybody here."""


def copy_file(output: int, source: int, offset: int, length: int) -> None:
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
