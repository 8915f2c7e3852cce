"""Build the address space of a task inside its puppet."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.contract.vma import vma_resource
from cr.kernel import mman
from cr.model import CheckpointError
from cr.remote.foothold import PROGRAM_OFFSET
from cr.remote.program import Program
from cr.restore import aio, foreign_vdso, inheritance, io_uring, vdso
from cr.restore.chain import Chain
from cr.restore.fill import Filling
from cr.restore.handover import MAX_PER_MESSAGE, Channel, lowest_free, receive
from cr.restore.inheritance import Span, end_of, guards, heritage_of, mapped
from cr.restore.laziness import laziness
from cr.restore.memory_check import TASK_SIZE, page_sources
from cr.values import dataclass, field
from images.pages import PageSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from images import messages as m

SCRATCH_SIZE = 1 << 20
LOWEST = 0x10000
SEED_RANGE = (0x400000, 0x401000)
_MMAP_FLAGS = 0x2B | mman.MAP_GROWSDOWN | mman.MAP_NORESERVE | mman.MAP_HUGETLB | 0x3F << mman.MAP_HUGE_SHIFT
_WHOLE = mman.MAP_NORESERVE | mman.MAP_GROWSDOWN | mman.MAP_HUGETLB
_STEP = 1 << 29
_ADVICE_BITS = range(1, 26)


def _steps(start: int, end: int) -> Iterator[int]:
    """Where to stop on the way from `start` to `end`.

    No single request may be for more than the machine has (vm.overcommit_memory(5) 0), even if the whole is; and
    programs that ask little by little have wholes that are.  Neighbours become one mapping.
    """
    yield from range(start + _STEP, end, _STEP)
    if start < end:
        yield end


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
        self.vmas = mapped(task.mm)
        self.born_with: AddressSpace | None = task.born_with
        self.heritage = heritage_of(self.born_with.task, task) if self.born_with else None
        self.kept = self.heritage.kept if self.heritage else {}
        self.sources: list[PageSource] = []
        self.fds = _Fds()

    def build(self) -> None:
        """Turn what the puppet was born with into what the task had."""
        self.sources = page_sources(self.task, self.context)
        self._build()
        self.task.space = self

    def _build(self) -> None:
        filling = Filling(self.task, self.context, self.fds.slot)
        read, drop = filling.work(self.heritage, self.sources, self.born_with.sources if self.born_with else [])
        filled = self._filled(read)
        layout, end = self._chain(), self._chain()
        self._lay_out(layout, filled, drop)
        fill = filling.plan(self._chain(), read)
        self._finish(end, filled)
        self._hand_over()
        for program in layout.programs:
            self.context.run(self.task.leader, program)
        filling.run(fill)
        for program in end.programs:
            self.context.run(self.task.leader, program)
        if (later := laziness(self.context)) is not None:
            later.watch(self.task, self.channel)
        aio.restore(self.task, self.context)
        io_uring.restore(self.task, self.context)
        foreign_vdso.patch(self.task, self.context)
        self.context.report.pages_restored += sum(source.nr_pages for source in read)

    def _chain(self) -> Chain:
        return Chain(SCRATCH_SIZE - PROGRAM_OFFSET)

    def _hand_over(self) -> None:
        """Give the puppet the files that are to be mapped and read; they get the lowest numbers."""
        ours = list(self.fds.slots)
        for start in range(0, len(ours), MAX_PER_MESSAGE):
            batch = ours[start : start + MAX_PER_MESSAGE]
            program = Program()
            self.channel.send(batch)
            receive(program, len(batch))
            self.context.run(self.task.leader, program)

    def _lay_out(self, chain: Chain, filled: set[int], drop: list[Span]) -> None:
        self._clear(chain)
        if self.heritage is None or not self.heritage.described:
            self._describe(chain.room(4096 + 8 * len(self.mm.mm_saved_auxv)))
        if self.mm.thp_disabled != (self.heritage is not None and self.heritage.thp_disabled):
            chain.call("prctl", mman.PR_SET_THP_DISABLE, int(self.mm.thp_disabled), 0, 0, 0)
        self._attach(chain)
        for vma in self.vmas:
            if vma_resource(vma.status).recreated:
                self._map(chain, vma, vma.start in filled)
        for start, end in drop:
            chain.call("madvise", start, end - start, mman.MADV_DONTNEED, note="pages that only the parent has")

    def _clear(self, chain: Chain) -> None:
        """Unmap what the puppet was born with and the task has not; the vDSO comes with one call."""
        if self.heritage is not None:
            for start, end in self.heritage.gone:
                chain.call("munmap", start, end - start)
            for start, end in self.heritage.guards_gone:
                chain.call("madvise", start, end - start, mman.MADV_GUARD_REMOVE)
        else:
            scratch = self.context.foothold
            chain.call("munmap", 0, scratch.address, note="everything below the scratch memory")
            end = scratch.address + scratch.size
            chain.call("munmap", end, TASK_SIZE - end, note="everything above")
        made = inheritance.kernel_made(self.mm)
        if made and made[0][0] not in self.kept:
            chain.call("arch_prctl", mman.ARCH_MAP_VDSO_64, made[0][0])
            for start, end in vdso.lacking(made):
                chain.call("munmap", start, end - start, note="what the task has unmapped of it")

    def _attach(self, chain: Chain) -> None:
        kinds = {vma_resource(vma.status) for vma in self.vmas}
        for resource in sorted((kind for kind in kinds if kind.own_way), key=lambda kind: kind.__name__):
            entries = [vma for vma in self.vmas if vma_resource(vma.status) is resource]
            resource.attach(chain.room, entries, self.task, self.context)

    def _map(self, chain: Chain, vma: m.vma_entry, filled: bool) -> None:
        """Map one thing, or make what is there already writable and large enough."""
        length = vma.end - vma.start
        if vma.start in self.kept:
            reached = self.kept[vma.start]
            for end in _steps(reached, vma.end):
                chain.call("mremap", vma.start, reached - vma.start, end - vma.start, 0)
                reached = end
            if filled and not vma.prot & mman.PROT_WRITE:
                chain.call("mprotect", vma.start, length, vma.prot | mman.PROT_WRITE)
            return
        ours = vma_resource(vma.status).fd(vma, self.task, self.context)
        flags = vma.flags & _MMAP_FLAGS | mman.MAP_FIXED
        if ours is not None:
            flags &= ~(mman.MAP_ANONYMOUS | mman.MAP_HUGETLB | 0x3F << mman.MAP_HUGE_SHIFT)
        prot = vma.prot | (mman.PROT_WRITE if filled else 0)
        slot, start = -1 if ours is None else self.fds.slot(ours), vma.start
        for end in _steps(start, vma.end) if flags & mman.MAP_PRIVATE and not flags & _WHOLE else [vma.end]:
            place = vma.pgoff + start - vma.start if ours is not None else vma.pgoff
            chain.call("mmap", start, end - start, prot, flags, slot, place, note=f"status {vma.status:#x}")
            start = end

    def _finish(self, chain: Chain, filled: set[int]) -> None:
        for start, end in guards(self.mm):
            chain.call("madvise", start, end - start, mman.MADV_GUARD_INSTALL)
        for vma in self.vmas:
            if vma_resource(vma.status).recreated:
                self._finish_vma(chain, vma, vma.start in filled)
        if self.fds.slots:
            chain.call("close_range", Channel.NUMBER + 1, 0x7FFFFFFF, 0)

    def _finish_vma(self, chain: Chain, vma: m.vma_entry, filled: bool) -> None:
        length = vma.end - vma.start
        if filled and not vma.prot & mman.PROT_WRITE:
            chain.call("mprotect", vma.start, length, vma.prot)
        if vma.flags & mman.MAP_LOCKED:
            chain.call("mlock2", vma.start, length, mman.MLOCK_ONFAULT if vma.flags & mman.MAP_NONBLOCK else 0)
        for advice in _ADVICE_BITS:
            if vma.madv >> advice & 1 and vma.start not in self.kept:
                chain.call("madvise", vma.start, length, advice)

    def _describe(self, program: Program) -> None:
        """struct prctl_mm_map: what /proc/PID shows of the layout, and where brk(2) goes on.

        Done while little is mapped: the executable cannot be changed while the old one is mapped.
        """
        mm = self.mm
        auxv = program.data(struct.pack(f"<{len(mm.mm_saved_auxv)}Q", *mm.mm_saved_auxv))
        exe = self.fds.slot(self.context.file(mm.exe_file_id)) if self.heritage is None else 0xFFFFFFFF
        record = program.words(
            mm.mm_start_code, mm.mm_end_code, mm.mm_start_data, mm.mm_end_data, mm.mm_start_brk, mm.mm_brk,
            mm.mm_start_stack, mm.mm_arg_start, mm.mm_arg_end, mm.mm_env_start, mm.mm_env_end,
            auxv, auxv.size | exe << 32,
        )  # fmt: skip
        program.call("prctl", mman.PR_SET_MM, mman.PR_SET_MM_MAP, record, record.size, 0)

    def _filled(self, sources: list[PageSource]) -> set[int]:
        """Starts of the mappings that get page contents."""
        found: set[int] = set()
        index = 0
        for source in sources:
            while self.vmas[index].end <= source.vaddr:
                index += 1
            touched = index
            while touched < len(self.vmas) and self.vmas[touched].start < end_of(source):
                found.add(self.vmas[touched].start)
                touched += 1
        return found
