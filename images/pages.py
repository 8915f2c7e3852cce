"""Memory contents: a pagemap image says which pages there are, a pages image holds their bytes."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Self

from images.directory import ImageDirectory
from images.errors import ImageError
from images.file import write_all
from images.kinds import KINDS, PageFlag
from images.pagemap import PAGE_SIZE, PagemapReader, PageRun, PageSource

if TYPE_CHECKING:
    from images import messages as m

__all__ = ["PAGE_SIZE", "PageRun", "PageSource", "PagemapReader", "PagesWriter"]

PIECE = 32 << 10  # of one write: for larger ones the page cache takes large blocks of memory, often slow to get

_PRESENT, _PRESENT_LAZY = int(PageFlag.PRESENT), int(PageFlag.PRESENT | PageFlag.LAZY)
_IN_PARENT, _LAZY = int(PageFlag.PARENT), int(PageFlag.LAZY)


class PagesWriter:
    """Writes pagemap-<object_id>.img (or pagemap-shmem-) and pages-<pages_id>.img. Use as a context manager.

    Runs must come in ascending order of address; adjacent runs of the same kind become one record.
    Either `append` the bytes, or write them to `fd` yourself, in order, and say so with `present`.
    """

    def __init__(self, directory: ImageDirectory, kind: str, object_id: int, pages_id: int) -> None:
        from images import messages as m

        self._path = os.path.join(directory.path, KINDS[kind].filename(object_id))
        self._pages = os.path.join(directory.path, KINDS["pages"].filename(pages_id))
        self.fd = directory.open_raw("pages", pages_id, write=True)
        try:
            self._map = directory.writer(kind, object_id)
        except BaseException:
            os.close(self.fd)
            raise
        self._map.add(m.pagemap_head(pages_id=pages_id))
        self._run: tuple[int, int, int] | None = None
        self._stored = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._map:
                if kind is None:
                    self._finish()
        finally:
            os.close(self.fd)

    def present(self, vaddr: int, nr_pages: int, *, lazy: bool = False) -> None:
        """Pages whose bytes stand next in the pages image; `lazy` ones may be sent on demand at restore."""
        self._stored += nr_pages
        self._add(vaddr, nr_pages, _PRESENT_LAZY if lazy else _PRESENT)

    def store(self, data: bytes | memoryview) -> None:
        """Write the next bytes of pages recorded by `present`."""
        write_all(self.fd, self._pages, data)

    def store_at(self, data: memoryview, offset: int) -> None:
        """Write bytes at this offset of the pages image; any order, from any thread."""
        position = 0
        while position < len(data):
            piece = data[position : position + PIECE]
            position += os.pwrite(self.fd, piece, offset + position)

    def append(self, vaddr: int, data: bytes | memoryview, *, lazy: bool = False) -> None:
        """Write whole pages and record them."""
        view = memoryview(data).cast("B")
        nr_pages, rest = divmod(view.nbytes, PAGE_SIZE)
        if rest:
            raise ValueError(f"{view.nbytes} bytes are not whole pages")
        self.store(view)
        self.present(vaddr, nr_pages, lazy=lazy)

    def in_parent(self, vaddr: int, nr_pages: int) -> None:
        """Pages unchanged since the parent snapshot."""
        self._add(vaddr, nr_pages, _IN_PARENT)

    def lazy(self, vaddr: int, nr_pages: int) -> None:
        """Pages that stay with the source and are fetched on demand: no bytes in this snapshot."""
        self._add(vaddr, nr_pages, _LAZY)

    def _add(self, vaddr: int, nr_pages: int, flags: int) -> None:
        if nr_pages <= 0:
            return
        start, count, before = self._run or (vaddr, 0, flags)
        end = start + count * PAGE_SIZE
        if vaddr < end or vaddr % PAGE_SIZE:
            raise ValueError(f"pages at {vaddr:#x} cannot follow those up to {end:#x} in {self._path}")
        if vaddr == end and flags == before:
            self._run = (start, count + nr_pages, flags)
            return
        self._emit()
        self._run = (vaddr, nr_pages, flags)

    def _emit(self) -> None:
        if self._run is not None:
            vaddr, nr_pages, flags = self._run
            self._map.add(run_entry(vaddr, nr_pages, flags))

    def _finish(self) -> None:
        self._emit()
        size = os.fstat(self.fd).st_size
        if size != self._stored * PAGE_SIZE:
            raise ImageError(self._path, f"records {self._stored} pages, their image has {size} bytes")


def run_entry(vaddr: int, nr_pages: int, flags: int) -> m.pagemap_entry:
    """A record of adjacent pages; the 32-bit count is for readers that do not know the other (criu 3, go-criu 6)."""
    from images import messages as m

    compat = nr_pages if nr_pages < 1 << 32 else 0
    return m.pagemap_entry(vaddr=vaddr, compat_nr_pages=compat, flags=flags, nr_pages=nr_pages)
