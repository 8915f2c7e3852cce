"""Which pages of two pages images have the same bytes, and the images as memory of ours."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

from cr.kernel import page_compare, vm
from cr.restore.inheritance import Span
from cr.values import dataclass, field
from images.pages import PAGE_SIZE, PageSource

BLOCK = 256 * PAGE_SIZE
SAMPLE = 16  # pages


@dataclass
class PageFiles:
    """Pages images mapped into this process, each once."""

    _maps: dict[tuple[str, int], tuple[mmap.mmap, int]] = field(default_factory=dict)
    _touched: set[tuple[str, int]] = field(default_factory=set)

    def address(self, source: PageSource) -> int:
        """Where the bytes of a source are in our memory."""
        assert source.offset is not None
        key = (str(source.directory.path), source.pages_id)
        if key not in self._maps:
            self._maps[key] = self._map(source)
        self._touched.add(key)
        return self._maps[key][1] + source.offset

    def forget(self, source: PageSource | None = None) -> None:
        """Let go of the pages of a source, or of all: they stay in the page cache, but do not count as ours."""
        if source is None:
            for key in self._touched:
                self._maps[key][0].madvise(mmap.MADV_DONTNEED)
            self._touched.clear()
        elif source.offset is not None:
            memory, _ = self._maps[str(source.directory.path), source.pages_id]
            memory.madvise(mmap.MADV_DONTNEED, source.offset, source.nr_pages * PAGE_SIZE)

    @staticmethod
    def _map(source: PageSource) -> tuple[mmap.mmap, int]:
        fd = source.directory.open_raw("pages", source.pages_id)
        try:
            memory = mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
        finally:
            os.close(fd)
        return memory, vm.address_of(memory)

    def differing(self, mine: PageSource, theirs: PageSource) -> Iterator[Span]:
        """The spans of addresses whose pages are not the same; where nothing is alike, whole blocks of them."""
        if mine.offset is None or theirs.offset is None:
            yield mine.vaddr, mine.vaddr + mine.nr_pages * PAGE_SIZE
            return
        one, other = self.address(mine), self.address(theirs)
        size = mine.nr_pages * PAGE_SIZE
        for start in range(0, size, BLOCK):
            length = min(BLOCK, size - start)
            if not vm.equal(one + start, other + start, length):
                for first, last in _pages(one + start, other + start, length):
                    yield mine.vaddr + start + first, mine.vaddr + start + last


def _pages(one: int, other: int, size: int) -> Iterator[Span]:
    """Offsets of the runs of pages within a block that differ."""
    count = size // PAGE_SIZE
    if count > SAMPLE and all(page_compare.differing(one, other, SAMPLE)):
        yield 0, size
        return
    flags = page_compare.differing(one, other, count)
    start = flags.find(1)
    while start >= 0:
        end = flags.find(0, start)
        end = count if end < 0 else end
        yield start * PAGE_SIZE, end * PAGE_SIZE
        start = flags.find(1, end)
