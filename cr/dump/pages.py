"""Find the pages that belong to a task alone."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby

from cr.kernel import pagemap
from cr.values import dataclass, field

Span = tuple[int, int]

TRACKED = pagemap.PAGE_IS_WRITTEN
"""what a written page is to a kernel that tracks with userfaultfd(2)"""
_PRESENT = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED


@dataclass
class PrivatePages:
    """Runs of pages with contents, and of guard pages (madvise(2) MADV_GUARD_INSTALL), in ascending order."""

    runs: list[Span] = field(default_factory=list)
    guards: list[Span] = field(default_factory=list)
    unchanged: list[Span] = field(default_factory=list)
    """pages with contents that are known not to have been written since the parent snapshot"""
    lazy: list[Span] = field(default_factory=list)
    """the mappings whose pages a restore may bring later; each run is within one mapping"""

    def is_lazy(self, address: int) -> bool:
        index = bisect_right(self.lazy, address, key=lambda span: span[0]) - 1
        return index >= 0 and address < self.lazy[index][1]


def find(pid: int, anonymous: list[Span], files: list[Span], written: int = 0) -> PrivatePages:
    """Populated pages that are a task's own (not the page cache's, not the zero page) in its private mappings.

    Where writes are tracked, `written` has the categories of which a written page has one.
    """
    found: list[pagemap.Run] = []
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for spans, mapped in _stretches(anonymous, files):
            found += _scan(fd, spans, mapped, written)
    finally:
        os.close(fd)
    return _sorted_out(found, written)


def _stretches(anonymous: list[Span], files: list[Span]) -> Iterator[tuple[list[Span], bool]]:
    """Neighbours of one kind, and whether they are of files."""
    for mapped, group in groupby(
        sorted([*((*span, False) for span in anonymous), *((*span, True) for span in files)]), key=lambda span: span[2]
    ):
        yield [(start, end) for start, end, _ in group], mapped


def _scan(fd: int, spans: list[Span], mapped: bool, written: int) -> Iterator[pagemap.Run]:
    """To ask whether a page is a file's takes the kernel five times as long: it has to look at every single page."""
    unwanted = pagemap.PAGE_IS_PFNZERO | (pagemap.PAGE_IS_FILE if mapped else 0)
    report = written | (pagemap.PAGE_IS_WPALLOWED if written == TRACKED else 0)
    runs = pagemap.scan_with_guards(
        fd, spans[0][0], spans[-1][1], any_of=_PRESENT, all_of=unwanted, invert=unwanted, report=report
    )
    index = 0
    for start, end, categories in runs:
        while spans[index][1] <= start:
            index += 1
        for first, last in clip([(start, end)], spans, index):
            yield first, last, categories


def _sorted_out(found: list[pagemap.Run], written: int) -> PrivatePages:
    pages = PrivatePages()
    for start, end, categories in found:
        if categories & pagemap.PAGE_IS_GUARD:
            pages.guards.append((start, end))
        elif _is_unchanged(categories, written):
            pages.unchanged.append((start, end))
        else:
            pages.runs.append((start, end))
    return pages


def _is_unchanged(categories: int, written: int) -> bool:
    """Pages of mappings that are not tracked (made, or moved, since) count as written."""
    tracked = categories & pagemap.PAGE_IS_WPALLOWED if written == TRACKED else written
    return bool(tracked) and not categories & written


def clip(runs: Iterable[Span], allowed: list[Span], position: int = 0) -> Iterator[Span]:
    """The parts of ascending runs that lie within ascending spans (from number `position` on)."""
    for run_start, run_end in runs:
        while position < len(allowed) and allowed[position][1] <= run_start:
            position += 1
        index = position
        while index < len(allowed) and allowed[index][0] < run_end:
            yield max(run_start, allowed[index][0]), min(run_end, allowed[index][1])
            index += 1


def gaps(spans: Iterable[Span]) -> list[Span]:
    """What ascending spans leave of all addresses."""
    found, end = [], 0
    for start, following in spans:
        if end < start:
            found.append((end, start))
        end = following
    return [*found, (end, 1 << 64)]
