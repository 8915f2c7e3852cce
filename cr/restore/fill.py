"""Read page contents into a puppet: by preadv(2) inside it, and for large memory from outside as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import vm
from cr.model import CheckpointError
from cr.remote.program import Program, Result
from cr.restore.chain import Chain
from cr.restore.inheritance import Heritage, Span, page_work, part
from cr.restore.likeness import PageFiles
from cr.values import dataclass, field
from images.pages import PAGE_SIZE, PageSource

PIECE = 32 << 20  # bytes of one read: the kernel looks for signals in between
RESIDENT = 4 << 20  # bytes of a pages image that are mapped into this process's memory at a time
SHARED_FROM = 32 << 20  # bytes from which on two cores are worth while
OUTSIDE = 0.45  # the part that is copied from outside, a little slower than the reads inside
FEW = 64 << 10  # bytes on end up to which a copy from outside takes less than the call of a program that reads them


@dataclass
class Plan:
    """`programs` run in the puppet; `outside` is copied by us meanwhile, `scattered` all at once."""

    programs: list[Program]
    outside: list[PageSource]
    scattered: list[PageSource]
    reads: list[tuple[Result, int]] = field(default_factory=list)


class Filling:
    """The page contents of one task."""

    def __init__(self, task: RestoreTask, context: RestoreContext, slot: Callable[[int], int]) -> None:
        self.task, self.context, self._slot = task, context, slot
        self.files: PageFiles = context.once("page files", PageFiles)

    def work(
        self, heritage: Heritage | None, mine: list[PageSource], theirs: list[PageSource]
    ) -> tuple[list[PageSource], list[Span]]:
        """(pages to read, spans of pages to drop)"""
        if heritage is None:
            return mine, []
        work = page_work(heritage.spans, mine, theirs, self.files.differing)
        self.files.forget()
        return work

    def plan(self, chain: Chain, sources: list[PageSource]) -> Plan:
        pieces = list(_cut(sources, PIECE))
        total = sum(piece.nr_pages for piece in pieces) * PAGE_SIZE
        inside, outside = _share(pieces, total * OUTSIDE if total >= SHARED_FROM else 0)
        plan = Plan(chain.programs, outside, [])
        for stretch in _stretches(inside):
            if sum(source.nr_pages for source in stretch) * PAGE_SIZE <= FEW and stretch[0].offset is not None:
                plan.scattered += stretch
            else:
                self._read(plan, chain, stretch)
        return plan

    def _read(self, plan: Plan, chain: Chain, stretch: list[PageSource]) -> None:
        first = stretch[0]
        if first.offset is None:
            raise CheckpointError(f"{self.task} has lazy pages: restore it with --lazy-pages")
        program = chain.room(1024 + 16 * len(stretch))
        key = ("pages", str(first.directory.path), first.pages_id)
        pages = self.context.once(key, lambda: self.context.keep(first.directory.open_raw("pages", first.pages_id)))
        spans = [word for source in stretch for word in (source.vaddr, source.nr_pages * PAGE_SIZE)]
        result = program.call("preadv", self._slot(pages), program.words(*spans), len(stretch), first.offset, 0)
        plan.reads.append((result, sum(spans[1::2])))

    def run(self, plan: Plan) -> None:
        """Fill; the last program's reads go on in the puppet while we copy our share."""
        leader, foothold = self.task.leader, self.context.foothold
        *before, last = plan.programs
        for program in before:
            self.context.run(leader, program)
        if last.calls:
            foothold.start(leader.puppet, leader.identity, last)
        try:
            self._scatter(plan.scattered)
            for source in _cut(plan.outside, RESIDENT):
                self._copy(source)
        finally:
            if last.calls:
                foothold.finish(leader.puppet, last)
        for result, expected in plan.reads:
            if result.value != expected:
                raise CheckpointError(f"pages of {self.task} end early: {result.value} of {expected} bytes")

    def _scatter(self, sources: list[PageSource]) -> None:
        pieces = [(self.files.address(source), source.nr_pages * PAGE_SIZE, source.vaddr) for source in sources]
        vm.scatter(self.task.puppet.tid, pieces)
        self.files.forget()

    def _copy(self, source: PageSource) -> None:
        if source.offset is None:
            raise CheckpointError(f"{self.task} has lazy pages: restore it with --lazy-pages")
        address, done, size = self.files.address(source), 0, source.nr_pages * PAGE_SIZE
        while done < size:
            done += vm.writev(self.task.puppet.tid, address + done, size - done, source.vaddr + done)
        self.files.forget(source)


def _cut(sources: list[PageSource], size: int) -> Iterator[PageSource]:
    """No source larger than `size` bytes."""
    for source in sources:
        start, end = source.vaddr, source.vaddr + source.nr_pages * PAGE_SIZE
        while end - start > size:
            yield part(source, start, start + size)
            start += size
        yield source if start == source.vaddr else part(source, start, end)


def _share(pieces: list[PageSource], outside: float) -> tuple[list[PageSource], list[PageSource]]:
    """(inside, outside): whole large pieces go outside until that many bytes are there."""
    inside: list[PageSource] = []
    ours: list[PageSource] = []
    for piece in pieces:
        size = piece.nr_pages * PAGE_SIZE
        if size >= PIECE // 8 and outside >= size:
            ours.append(piece)
            outside -= size
        else:
            inside.append(piece)
    return inside, ours


def _stretches(sources: list[PageSource]) -> Iterator[list[PageSource]]:
    """Sources that one preadv(2) reads: their bytes follow on each other in one pages image."""
    stretch: list[PageSource] = []
    for source in sources:
        if stretch and not _follows(stretch, source):
            yield stretch
            stretch = []
        stretch.append(source)
    if stretch:
        yield stretch


def _follows(stretch: list[PageSource], source: PageSource) -> bool:
    last = stretch[-1]
    same = last.pages_id == source.pages_id and last.directory is source.directory
    adjacent = last.offset is not None and source.offset == last.offset + last.nr_pages * PAGE_SIZE
    size = sum(part.nr_pages for part in stretch) * PAGE_SIZE
    return same and adjacent and len(stretch) < vm.IOV_MAX and size + source.nr_pages * PAGE_SIZE <= PIECE
