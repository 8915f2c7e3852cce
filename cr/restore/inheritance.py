"""What a child keeps of the memory that it is born with, a copy of its parent's.  Pure planning.

A child of fork(2) shares every page with its parent until one of them writes to it.  So that a restore does
not need more memory than the tasks had, a child keeps the mappings that are the parent's too, and of their
pages those with the same bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from cr.contract.vma import vma_resource
from cr.kernel import mman
from cr.values import dataclass
from images.kinds import VmaStatus
from images.pages import PAGE_SIZE, PageSource

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreTask
    from images import messages as m

Span = tuple[int, int]
_GUARD = int(VmaStatus.GUARD)  # plain numbers: an operation on a flag class takes a microsecond
_VDSO = int(VmaStatus.VDSO)
_KERNEL_MADE = int(VmaStatus.VDSO | VmaStatus.VVAR)
_PLACELESS = _KERNEL_MADE | int(VmaStatus.ANON_PRIVATE)
_NOT_FORKED = 1 << mman.MADV_DONTFORK | 1 << mman.MADV_WIPEONFORK


@dataclass(frozen=True)
class Heritage:
    """`kept`: start of a child's mapping -> the end of what it has of it; `gone`: what is to be unmapped."""

    kept: dict[int, int]
    gone: list[Span]
    guards_gone: list[Span]
    described: bool
    """whether /proc/PID shows the same borders, arguments and executable"""
    thp_disabled: bool
    """whether it was born with prctl(2) PR_SET_THP_DISABLE"""

    @property
    def spans(self) -> list[Span]:
        return sorted(self.kept.items())


def mapped(mm: m.mm_entry) -> list[m.vma_entry]:
    """The mappings in ascending order, without the entries that are none (guard areas)."""
    return sorted((vma for vma in mm.vmas if not vma.status & _GUARD), key=lambda vma: vma.start)


def guards(mm: m.mm_entry) -> list[Span]:
    return sorted((vma.start, vma.end) for vma in mm.vmas if vma.status & _GUARD)


def heritage(parent: m.mm_entry, child: m.mm_entry) -> Heritage | None:
    """What `child` can keep; None where that is nothing, as after execve(2)."""
    if parent.exe_file_id != child.exe_file_id:
        return None
    theirs = mapped(parent)
    starts = [vma.start for vma in theirs]
    kept: dict[int, int] = {}
    for vma in mapped(child):
        index = bisect_right(starts, vma.start) - 1
        if index >= 0 and (end := _kept_until(theirs[index], vma)):
            kept[vma.start] = end
    _drop_partial_vdso(kept, parent, child)
    if not any(vma.start in kept and vma_resource(vma.status).recreated for vma in mapped(child)):
        return None
    gone = list(subtract(((vma.start, vma.end) for vma in theirs), sorted(kept.items())))
    unguarded = [] if guards(parent) == guards(child) else guards(parent)
    return Heritage(
        kept, gone, list(intersect(unguarded, sorted(kept.items()))), _description(parent, child), parent.thp_disabled
    )


def strangers(parent: RestoreTask, child: RestoreTask) -> bool:
    """Whether a child has nothing of its parent's memory: after execve(2), or as a zombie."""
    if parent.mm is None or child.mm is None:
        return True
    if parent.ids is not None and child.ids is not None and parent.ids.vm_id == child.ids.vm_id:
        return False
    return heritage_of(parent, child) is None


def heritage_of(parent: RestoreTask, child: RestoreTask) -> Heritage | None:
    """The same for two tasks, worked out once."""
    if parent.vpid not in child.heritages:
        assert parent.mm is not None and child.mm is not None
        child.heritages[parent.vpid] = heritage(parent.mm, child.mm)
    found: Heritage | None = child.heritages[parent.vpid]
    return found


def _kept_until(theirs: m.vma_entry, mine: m.vma_entry) -> int:
    """The end of the part that a child has of its mapping by birth, 0 where it has to be mapped anew."""
    resource = vma_resource(mine.status)
    if not theirs.start <= mine.start < theirs.end or not resource.inherited or not _alike(theirs, mine):
        return 0
    grows = resource.private_pages and not mine.flags & mman.MAP_GROWSDOWN
    if mine.end > theirs.end and not grows:
        return 0
    return min(mine.end, theirs.end)


def _alike(theirs: m.vma_entry, mine: m.vma_entry) -> bool:
    """Same kind, protection, flags, advice and backing."""
    flags = (theirs.flags ^ mine.flags) & ~mman.MAP_LOCKED
    if flags or mine.flags & mman.MAP_HUGETLB or theirs.madv & _NOT_FORKED:
        return False
    if (theirs.prot, theirs.status, theirs.shmid, theirs.madv) != (mine.prot, mine.status, mine.shmid, mine.madv):
        return False
    anonymous = mine.status & _PLACELESS
    return bool(anonymous) or theirs.pgoff - theirs.start == mine.pgoff - mine.start


def _drop_partial_vdso(kept: dict[int, int], parent: m.mm_entry, child: m.mm_entry) -> None:
    """The vDSO and its variables are mapped by one call, so all of them are kept or none."""
    mine, theirs = kernel_made(child), kernel_made(parent)
    if mine != theirs:
        for start, _ in mine:
            kept.pop(start, None)


def kernel_made(mm: m.mm_entry) -> list[Span]:
    return [(vma.start, vma.end) for vma in mapped(mm) if vma.status & _KERNEL_MADE]


def has_vdso(mm: m.mm_entry) -> bool:
    """Whether there is code among what the kernel has made: a program may have unmapped it and left the variables."""
    return any(vma.status & _VDSO for vma in mapped(mm))


def _description(parent: m.mm_entry, child: m.mm_entry) -> bool:
    names = "start_code end_code start_data end_data start_stack start_brk brk arg_start arg_end env_start env_end"
    return all(getattr(parent, f"mm_{name}") == getattr(child, f"mm_{name}") for name in [*names.split(), "saved_auxv"])


def subtract(spans: Iterable[Span], holes: list[Span]) -> Iterator[Span]:
    """Ascending spans without ascending holes; neighbours are joined."""
    last: Span | None = None
    for piece in _pieces(spans, holes):
        if last is not None and last[1] == piece[0]:
            last = last[0], piece[1]
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def _pieces(spans: Iterable[Span], holes: list[Span]) -> Iterator[Span]:
    index = 0
    for start, end in spans:
        while index < len(holes) and holes[index][1] <= start:
            index += 1
        position = index
        while position < len(holes) and holes[position][0] < end:
            if start < holes[position][0]:
                yield start, holes[position][0]
            start = holes[position][1]
            position += 1
        if start < end:
            yield start, end


def intersect(spans: Iterable[Span], allowed: list[Span]) -> Iterator[Span]:
    """The parts of ascending spans within ascending others."""
    index = 0
    for start, end in spans:
        while index < len(allowed) and allowed[index][1] <= start:
            index += 1
        position = index
        while position < len(allowed) and allowed[position][0] < end:
            yield max(start, allowed[position][0]), min(end, allowed[position][1])
            position += 1


def part(source: PageSource, start: int, end: int) -> PageSource:
    """The pages of [start, end) of a source."""
    offset = None if source.offset is None else source.offset + start - source.vaddr
    return source._replace(vaddr=start, nr_pages=(end - start) // PAGE_SIZE, offset=offset)


def end_of(source: PageSource) -> int:
    return source.vaddr + source.nr_pages * PAGE_SIZE


Differing = Callable[[PageSource, PageSource], Iterable[Span]]
"""(mine, parent's), same addresses: the spans whose bytes are not the same"""


def page_work(
    kept: list[Span], mine: list[PageSource], theirs: list[PageSource], differing: Differing
) -> tuple[list[PageSource], list[Span]]:
    """(pages to read in, spans whose pages are to be dropped) for a child born with its parent's pages."""
    inherited = list(_clip(theirs, kept))
    read: list[PageSource] = []
    drop: list[Span] = []
    for start, end, own, born in overlay(mine, inherited):
        if own is None:
            drop.append((start, end))
        elif born is None:
            _append(read, part(own, start, end))
        else:
            for first, last in differing(part(own, start, end), part(born, start, end)):
                _append(read, part(own, first, last))
    return read, drop


def _clip(sources: list[PageSource], allowed: list[Span]) -> Iterator[PageSource]:
    index = 0
    for source in sources:
        while index < len(allowed) and allowed[index][1] <= source.vaddr:
            index += 1
        position, last = index, end_of(source)
        while position < len(allowed) and allowed[position][0] < last:
            yield part(source, max(source.vaddr, allowed[position][0]), min(last, allowed[position][1]))
            position += 1


def _append(read: list[PageSource], source: PageSource) -> None:
    """Join with the last one where it goes on in memory and in the image."""
    if read and end_of(read[-1]) == source.vaddr and read[-1].pages_id == source.pages_id:
        last = read[-1]
        size = last.nr_pages * PAGE_SIZE
        if last.offset is not None and source.offset == last.offset + size and last.directory is source.directory:
            read[-1] = last._replace(nr_pages=last.nr_pages + source.nr_pages)
            return
    read.append(source)


def overlay(
    mine: list[PageSource], theirs: list[PageSource]
) -> Iterator[tuple[int, int, PageSource | None, PageSource | None]]:
    """(start, end, mine, theirs) for every stretch where at least one has pages, in ascending order."""
    i = j = position = 0
    while i < len(mine) or j < len(theirs):
        own = mine[i] if i < len(mine) else None
        born = theirs[j] if j < len(theirs) else None
        position = max(position, min(source.vaddr for source in (own, born) if source is not None))
        own_here = own is not None and own.vaddr <= position
        born_here = born is not None and born.vaddr <= position
        borders = [
            end_of(source) if here else source.vaddr for source, here in ((own, own_here), (born, born_here)) if source
        ]
        end = min(borders)
        yield position, end, own if own_here else None, born if born_here else None
        position = end
        i += own_here and own is not None and end_of(own) == end
        j += born_here and born is not None and end_of(born) == end
