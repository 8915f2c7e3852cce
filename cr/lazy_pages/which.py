"""Which pages a restore may leave to be brought later.  Pure planning, from images alone.

The rule is that of criu, so that one engine's restore and the other's daemon agree: pages that the pagemap calls lazy,
in private anonymous mappings that are neither locked nor of huge pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from images.kinds import PageFlag, VmaStatus
from images.pages import PagemapReader

if TYPE_CHECKING:
    from images import messages as m

Span = tuple[int, int]
_PRIVATE, _ANONYMOUS, _LOCKED, _HUGETLB = 0x02, 0x20, 0x2000, 0x40000
_NEVER = int(VmaStatus.VDSO | VmaStatus.VVAR | VmaStatus.VSYSCALL | VmaStatus.GUARD)


def can_be_lazy(vma: m.vma_entry) -> bool:
    """Whether userfaultfd(2) can bring its pages, and nothing needs them at once."""
    wanted = _PRIVATE | _ANONYMOUS
    return vma.flags & (wanted | _LOCKED | _HUGETLB) == wanted and not vma.status & _NEVER


def lazy_mappings(mm: m.mm_entry, reader: PagemapReader) -> list[Span]:
    """The mappings all of whose pages are lazy, and that have some."""
    spans = sorted((vma.start, vma.end) for vma in mm.vmas if can_be_lazy(vma))
    lazy = list(_touched(spans, ((run.vaddr, run.end) for run in reader.runs if run.flags & PageFlag.LAZY)))
    eager = set(_touched(spans, ((r.vaddr, r.end) for r in reader.runs if not r.flags & PageFlag.LAZY)))
    return [span for span in lazy if span not in eager]


def lazy_spans(mappings: list[Span], reader: PagemapReader) -> list[Span]:
    """The pages themselves."""
    found: list[Span] = []
    index = 0
    for run in reader.runs:
        while index < len(mappings) and mappings[index][1] <= run.vaddr:
            index += 1
        for start, end in mappings[index:]:
            if start >= run.end:
                break
            found.append((max(start, run.vaddr), min(end, run.end)))
    return found


def _touched(spans: list[Span], runs: Iterable[Span]) -> Iterator[Span]:
    """Those spans that a run lies in; both ascend."""
    index, told = 0, -1
    for start, end in runs:
        while index < len(spans) and spans[index][1] <= start:
            index += 1
        position = index
        while position < len(spans) and spans[position][0] < end:
            if position > told:
                yield spans[position]
                told = position
            position += 1
