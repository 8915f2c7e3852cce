"""The states of pages in a range that is registered with userfaultfd(2): what a handler of faults relies on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cr.kernel import faults, pagemap, vm
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.dump.pages import Span
    from cr.kernel.proc import Mapping
    from images import messages as m

_THERE = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED
_REPORT = _THERE | pagemap.PAGE_IS_PFNZERO | pagemap.PAGE_IS_WRITTEN
_PROTECT, _MINOR = faults.FLAGS["uw"], faults.FLAGS["ui"]


def describe(pid: int, mapping: Mapping, entry: m.woodfrog_userfaultfd_range) -> list[Span]:
    """Fill in the spans of a range; those where there is a mark instead of a page."""
    marks: list[Span] = []
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        runs = pagemap.scan_with_guards(
            fd, mapping.start, mapping.end, any_of=_THERE, all_of=0, invert=0, report=_REPORT
        )
        for start, end, categories in runs:
            if categories & pagemap.PAGE_IS_GUARD:
                continue
            if categories & pagemap.PAGE_IS_SWAPPED:
                huge = "ht" in mapping.flags
                for span, marker in [_huge(start, end, categories)] if huge else _told_apart(fd, start, end):
                    _note(entry, span, categories, marker)
                    marks += [span] if marker else []
            else:
                _note(entry, (start, end), categories, 0)
    finally:
        os.close(fd)
    return marks


def _huge(start: int, end: int, categories: int) -> tuple[Span, int]:
    """Pages of hugetlbfs are never in swap."""
    written = categories & pagemap.PAGE_IS_WRITTEN
    return (start, end), pagemap.MARKED_POISONED if written else pagemap.MARKED_PROTECTED


def _told_apart(fd: int, start: int, end: int) -> Iterator[tuple[Span, int]]:
    """Pages that are all in swap, or marks: spans of one kind."""
    if not _shows_markers():
        raise CheckpointError(
            "pages in swap cannot be told from the marks of userfaultfd(2) without CAP_SYS_ADMIN: dump as root"
        )
    first, kinds = start, pagemap.markers(fd, start, end)
    for index, kind in enumerate(kinds):
        following = start + (index + 1) * vm.PAGE_SIZE
        if following == end or kinds[index + 1] != kind:
            yield (first, following), kind
            first = following


def _shows_markers() -> bool:
    """Whether /proc shows us more of a page than that it is there."""
    page = bytearray(b"\1") * vm.PAGE_SIZE
    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        place = vm.address_of(page) // vm.PAGE_SIZE * 8
        return int.from_bytes(os.pread(fd, 8, place), "little") & ((1 << 55) - 1) != 0
    finally:
        os.close(fd)


def _note(entry: m.woodfrog_userfaultfd_range, span: Span, categories: int, marker: int) -> None:
    protected = not categories & pagemap.PAGE_IS_WRITTEN or marker & pagemap.MARKED_PROTECTED
    if entry.modes & _PROTECT and protected:
        _add(entry.protected, span)
    if marker & pagemap.MARKED_POISONED:
        _add(entry.poisoned, span)
    if marker:
        return
    if categories & pagemap.PAGE_IS_PFNZERO:
        _add(entry.zero, span)
    elif entry.private:
        _add(entry.present, span)
    if entry.modes & _MINOR and categories & pagemap.PAGE_IS_PRESENT:
        _add(entry.mapped, span)


def _add(spans: Any, span: Span) -> None:
    """One more, joined with the last one where it goes on."""
    if spans and spans[-1].end == span[0]:
        spans[-1].end = span[1]
    else:
        spans.add(start=span[0], end=span[1])
