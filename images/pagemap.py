"""Reading memory contents back: which pages a snapshot has, and where their bytes are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from images.directory import ImageDirectory
from images.errors import ImageError
from images.kinds import KINDS, PageFlag

if TYPE_CHECKING:
    from images import messages as m

PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
_TOP = 1 << 64
_MOST_ANCESTORS = 200
# plain numbers: an IntFlag costs half a microsecond at each use, and there may be millions of runs
_PRESENT, _PARENT = int(PageFlag.PRESENT), int(PageFlag.PARENT)
_SOMEWHERE = int(PageFlag.PRESENT | PageFlag.PARENT | PageFlag.LAZY)
Identity = tuple[int, int]


class PageRun(NamedTuple):
    """Adjacent pages of one kind; `offset` in bytes into pages-<pages_id>.img, None unless PRESENT."""

    vaddr: int
    nr_pages: int
    flags: int
    offset: int | None
    pages_id: int

    @property
    def end(self) -> int:
        """The address after the last page."""
        return self.vaddr + self.nr_pages * PAGE_SIZE


class PageSource(NamedTuple):
    """Pages with the place of their bytes, wherever in the chain of snapshots; None for lazy ones."""

    vaddr: int
    nr_pages: int
    directory: ImageDirectory
    pages_id: int
    offset: int | None


class PagemapReader:
    """A checked pagemap: runs ascend, do not overlap, and their bytes are within the pages image.

    Use as a context manager: it holds the parent snapshots open that `sources` refers to.
    """

    def __init__(
        self,
        directory: ImageDirectory,
        kind: str,
        object_id: int,
        *,
        _line: frozenset[Identity] = frozenset(),
    ) -> None:
        self.directory = directory
        self._line = _line or frozenset({_identity(directory)})
        self._kind, self._object = kind, object_id
        self._path = os.path.join(directory.path, KINDS[kind].filename(object_id))
        self._parent: PagemapReader | None = None
        self.runs = self._load()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the parent snapshots (not the directory this reader was made for)."""
        if self._parent is not None:
            self._parent.close()
            self._parent.directory.close()
            self._parent = None

    def _load(self) -> list[PageRun]:
        entries = self.directory.read(self._kind, self._object)
        if not entries:
            raise ImageError(self._path, "has no head that names its pages image")
        head: m.pagemap_head = entries[0]
        runs: list[PageRun] = []
        offset = 0
        for entry in entries[1:]:
            run = _run(entry, head.pages_id, offset)
            self._check_run(run, runs[-1].end if runs else 0)
            runs.append(run)
            offset += run.nr_pages * PAGE_SIZE if run.offset is not None else 0
        self._check_pages(head.pages_id, offset)
        return runs

    def _check_run(self, run: PageRun, floor: int) -> None:
        if run.vaddr % PAGE_SIZE or run.nr_pages == 0 or run.end > _TOP:
            raise ImageError(self._path, f"{run.nr_pages} pages at {run.vaddr:#x} cannot be")
        if run.vaddr < floor:
            raise ImageError(self._path, f"the pages at {run.vaddr:#x} overlap those before")
        if not run.flags & _SOMEWHERE:
            raise ImageError(self._path, f"nothing says where the pages at {run.vaddr:#x} are")

    def _check_pages(self, pages_id: int, needed: int) -> None:
        if not needed:
            return
        fd = self.directory.open_raw("pages", pages_id)
        size = os.fstat(fd).st_size
        os.close(fd)
        if size < needed:
            path = os.path.join(self.directory.path, KINDS["pages"].filename(pages_id))
            raise ImageError(path, f"has {size} bytes where {os.path.basename(self._path)} needs {needed}", size)

    def sources(self) -> Iterator[PageSource]:
        """Every page in ascending order with the snapshot and offset of its bytes, parents followed."""
        for run in self.runs:
            if run.flags & _PARENT:
                yield from self._parent_reader().find(run.vaddr, run.nr_pages)
            else:
                yield PageSource(run.vaddr, run.nr_pages, self.directory, run.pages_id, run.offset)

    def parent(self) -> PagemapReader | None:
        """The same memory in the snapshot that this one builds on; None where that has none of it."""
        if self._parent is not None:
            return self._parent
        directory = self.directory.parent()
        if directory is None:
            return None
        known = directory.exists(self._kind, self._object)
        directory.close()
        return self._parent_reader() if known else None

    def find(self, vaddr: int, nr_pages: int) -> Iterator[PageSource]:
        """Where the bytes of this range are. Raises ImageError if a page of it is in no snapshot."""
        from bisect import bisect_right

        end = vaddr + nr_pages * PAGE_SIZE
        index = bisect_right(self.runs, vaddr, key=lambda run: run.vaddr) - 1
        while vaddr < end:
            run = self.runs[index] if 0 <= index < len(self.runs) else None
            if run is None or not run.vaddr <= vaddr < run.end:
                raise ImageError(self._path, f"lacks the page at {vaddr:#x} that a later snapshot refers to")
            count = (min(end, run.end) - vaddr) // PAGE_SIZE
            yield from self._part(run, vaddr, count)
            vaddr += count * PAGE_SIZE
            index += 1

    def _part(self, run: PageRun, vaddr: int, count: int) -> Iterator[PageSource]:
        if run.flags & _PARENT:
            yield from self._parent_reader().find(vaddr, count)
            return
        offset = None if run.offset is None else run.offset + vaddr - run.vaddr
        yield PageSource(vaddr, count, self.directory, run.pages_id, offset)

    def _parent_reader(self) -> PagemapReader:
        if self._parent is None:
            directory = self.directory.parent()
            if directory is None:
                raise ImageError(self._path, "refers to a parent snapshot, but there is no link to one")
            try:
                self._parent = self._ancestor(directory)
            except BaseException:
                directory.close()
                raise
        return self._parent

    def _ancestor(self, directory: ImageDirectory) -> PagemapReader:
        identity = _identity(directory)
        if identity in self._line:
            raise ImageError(self._path, "its snapshot is its own ancestor")
        if len(self._line) >= _MOST_ANCESTORS:
            raise ImageError(self._path, f"more than {_MOST_ANCESTORS} snapshots build on each other here")
        return PagemapReader(directory, self._kind, self._object, _line=self._line | {identity})


def _identity(directory: ImageDirectory) -> Identity:
    status = os.fstat(directory.fd)
    return status.st_dev, status.st_ino


def _run(entry: m.pagemap_entry, pages_id: int, offset: int) -> PageRun:
    """A record as any engine since the first wrote it: flags or in_parent, a 64-bit count or a 32-bit one."""
    old = _PARENT if entry.in_parent else _PRESENT
    flags = entry.flags if entry.HasField("flags") else old
    nr_pages = entry.nr_pages if entry.HasField("nr_pages") else entry.compat_nr_pages
    place = offset if flags & _PRESENT else None
    return PageRun(entry.vaddr, nr_pages, flags, place, pages_id)
