"""Build the address space of a task inside its puppet."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.contract.vma import vma_resource
from cr.kernel import mman, proc
from cr.model import CheckpointError
from cr.remote.foothold import Foothold, find_system_call
from cr.remote.program import Program, Result
from cr.restore.handover import MAX_PER_MESSAGE, Channel, lowest_free, receive
from images.kinds import VmaStatus
from images.pages import PAGE_SIZE, PagemapReader, PageSource

if TYPE_CHECKING:
    from images import messages as m

TASK_SIZE = 0x7FFFFFFFF000
SCRATCH_SIZE = 1 << 20
LOWEST = 0x10000
SEED_RANGE = (0x400000, 0x401000)
MAX_READ = 1 << 30
_MMAP_FLAGS = 0x23 | mman.MAP_GROWSDOWN | mman.MAP_NORESERVE | mman.MAP_HUGETLB | 0x3F << 26
_ADVICE_BITS = range(1, 26)


def scratch_address(context: RestoreContext) -> int:
    """An address where no task has anything, for the puppets' programs."""
    taken = [SEED_RANGE]
    for task in context.tasks:
        if task.mm is not None:
            taken += [(vma.start, vma.end) for vma in task.mm.vmas]
    position = LOWEST
    for start, end in sorted(taken):
        if start - position >= SCRATCH_SIZE:
            return position
        position = max(position, end)
    if TASK_SIZE - position < SCRATCH_SIZE:
        raise CheckpointError("the tasks leave no megabyte of address space free to restore them by")
    return position


@dataclass
class _Fds:
    """Descriptors that the memory program needs in the puppet, by our number."""

    slots: dict[int, int] = field(default_factory=dict)

    def slot(self, ours: int) -> int:
        if ours not in self.slots:
            self.slots[ours] = lowest_free(len(self.slots) + 1)[-1]
        return self.slots[ours]


class AddressSpace:
    """The plan and the doing for one task."""

    def __init__(self, task: RestoreTask, context: RestoreContext, channel: Channel) -> None:
        assert task.mm is not None
        self.task, self.mm, self.context, self.channel = task, task.mm, context, channel
        self.fds = _Fds()
        self._opened: list[int] = []
        self._reads: list[tuple[Result, int]] = []

    def build(self) -> None:
        """Everything the puppet had is unmapped; then it has what the task had."""
        reader = PagemapReader(self.context.images, "pagemap", self.task.vpid)
        try:
            sources = list(reader.sources())
            self._run(sources)
        finally:
            reader.close()
            for fd in self._opened:
                os.close(fd)

    def _run(self, sources: list[PageSource]) -> None:
        program = Program()
        body = self._body(sources)
        ours = list(self.fds.slots)
        for start in range(0, len(ours), MAX_PER_MESSAGE):
            batch = ours[start : start + MAX_PER_MESSAGE]
            self.channel.send(batch)
            receive(program, len(batch))
        if program.calls:
            self.context.run(self.task.leader, program)
        for part in body:
            self.context.run(self.task.leader, part)
        for result, expected in self._reads:
            if result.value != expected:
                raise CheckpointError(f"pages of {self.task} end early: {result.value} of {expected} bytes")
        self.context.report.pages_restored += sum(source.nr_pages for source in sources)

    def _body(self, sources: list[PageSource]) -> list[Program]:
        program = Program()
        self._clear(program)
        self._describe(program)  # now: the executable cannot be changed while the old one is mapped
        filled = _filled(self.mm, sources)
        for vma in self.mm.vmas:
            self._map(program, vma, vma.start in filled)
        self._fill(program, sources)
        for vma in self.mm.vmas:
            self._finish_vma(program, vma, vma.start in filled)
        if self.fds.slots:
            program.call("close_range", Channel.NUMBER + 1, 0x7FFFFFFF, 0)
        return [program]

    def _clear(self, program: Program) -> None:
        scratch = self.context.foothold
        program.call("munmap", 0, scratch.address, note="everything below the scratch memory")
        end = scratch.address + scratch.size
        program.call("munmap", end, TASK_SIZE - end, note="everything above")
        vdso = [vma.start for vma in self.mm.vmas if vma.status & (VmaStatus.VDSO | VmaStatus.VVAR)]
        if vdso:
            program.call("arch_prctl", mman.ARCH_MAP_VDSO_64, min(vdso))

    def _map(self, program: Program, vma: m.vma_entry, filled: bool) -> None:
        resource = vma_resource(vma.status)
        if not resource.recreated:
            return
        ours = resource.fd(vma, self.task, self.context)
        flags = vma.flags & _MMAP_FLAGS | mman.MAP_FIXED
        if ours is not None:
            flags &= ~mman.MAP_ANONYMOUS
        prot = vma.prot | (mman.PROT_WRITE if filled else 0)
        slot = -1 if ours is None else self.fds.slot(ours)
        program.call("mmap", vma.start, vma.end - vma.start, prot, flags, slot, vma.pgoff)

    def _fill(self, program: Program, sources: list[PageSource]) -> None:
        """Reads of page contents, one for each stretch of a pages image that follows on itself."""
        stretch: list[PageSource] = []
        for source in sources:
            if stretch and not _follows(stretch, source):
                self._read(program, stretch)
                stretch = []
            stretch.append(source)
        if stretch:
            self._read(program, stretch)

    def _read(self, program: Program, stretch: list[PageSource]) -> None:
        first = stretch[0]
        if first.offset is None:
            raise CheckpointError(f"{self.task} has lazy pages: restore it with --lazy-pages")
        pages = self.context.once(("pages", first.directory.path, first.pages_id), lambda: self._open(first))
        spans = [word for source in stretch for word in (source.vaddr, source.nr_pages * PAGE_SIZE)]
        vector = program.words(*spans)
        offset = first.offset
        result = program.call("preadv", self.fds.slot(pages), vector, len(stretch), offset, 0)
        self._reads.append((result, sum(spans[1::2])))

    def _open(self, source: PageSource) -> int:
        fd = source.directory.open_raw("pages", source.pages_id)
        self._opened.append(fd)
        return fd

    def _finish_vma(self, program: Program, vma: m.vma_entry, filled: bool) -> None:
        if not vma_resource(vma.status).recreated:
            return
        length = vma.end - vma.start
        if filled and not vma.prot & mman.PROT_WRITE:
            program.call("mprotect", vma.start, length, vma.prot)
        if vma.flags & mman.MAP_LOCKED:
            program.call("mlock", vma.start, length)
        for advice in _ADVICE_BITS:
            if vma.madv >> advice & 1:
                program.call("madvise", vma.start, length, advice)

    def _describe(self, program: Program) -> None:
        """struct prctl_mm_map: what /proc/PID shows of the layout, and where brk(2) goes on."""
        mm = self.mm
        auxv = program.data(struct.pack(f"<{len(mm.mm_saved_auxv)}Q", *mm.mm_saved_auxv))
        exe = self.fds.slot(self.context.file(mm.exe_file_id))
        record = program.words(
            mm.mm_start_code, mm.mm_end_code, mm.mm_start_data, mm.mm_end_data, mm.mm_start_brk, mm.mm_brk,
            mm.mm_start_stack, mm.mm_arg_start, mm.mm_arg_end, mm.mm_env_start, mm.mm_env_end,
            auxv, auxv.size | exe << 32,
        )  # fmt: skip
        program.call("prctl", mman.PR_SET_MM, mman.PR_SET_MM_MAP, record, record.size, 0)
        if mm.thp_disabled:
            program.call("prctl", mman.PR_SET_THP_DISABLE, 1, 0, 0, 0)


def _filled(mm: m.mm_entry, sources: list[PageSource]) -> set[int]:
    """Starts of the mappings that get page contents; pages outside of every mapping are an error."""
    found: set[int] = set()
    vmas = iter(mm.vmas)
    vma = next(vmas, None)
    for source in sources:
        position, end = source.vaddr, source.vaddr + source.nr_pages * PAGE_SIZE
        while position < end:
            while vma is not None and vma.end <= position:
                vma = next(vmas, None)
            if vma is None or vma.start > position:
                raise CheckpointError(f"the pagemap has a page at {position:#x}, where nothing is mapped")
            found.add(vma.start)
            position = min(end, vma.end)
    return found


def _follows(stretch: list[PageSource], source: PageSource) -> bool:
    last = stretch[-1]
    same = last.pages_id == source.pages_id and last.directory.path == source.directory.path
    size = sum(part.nr_pages for part in stretch) * PAGE_SIZE
    adjacent = last.offset is not None and source.offset == last.offset + last.nr_pages * PAGE_SIZE
    return same and adjacent and len(stretch) < 1024 and size + source.nr_pages * PAGE_SIZE <= MAX_READ


@cache
def vdso_instruction() -> int:
    """Offset of a `syscall` instruction from the first page of the vDSO's variables."""
    mappings = proc.mappings(os.getpid())
    base = min(mapping.start for mapping in mappings if mapping.path.startswith(("[vvar", "[vdso]")))
    vdso = next(mapping for mapping in mappings if mapping.path == "[vdso]")
    found = find_system_call(os.getpid(), vdso.start, vdso.end)
    assert found is not None
    return found - base


def leave(task: RestoreTask, foothold: Foothold) -> None:
    """Take the scratch memory out of a finished task, by the vDSO's own `syscall` instruction."""
    assert task.mm is not None
    starts = [vma.start for vma in task.mm.vmas if vma.status & (VmaStatus.VDSO | VmaStatus.VVAR)]
    foothold.remove(task.puppet, min(starts) + vdso_instruction())
