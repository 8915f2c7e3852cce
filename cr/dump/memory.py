"""The address space of a task: its layout (mm image) and its private pages."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.dumping import DumpContext, DumpTask, note
from cr.contract.shmem import next_pages_id
from cr.contract.vma import VmaResource, vma_resources
from cr.kernel import mman, pagemap, proc, vm
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.remote.program import Program, Result
    from images import messages as m

CHUNK = 8 << 20

# VmFlags of smaps -> madvise(2) advice numbers, kept as bits of vma_entry.madv
_ADVICE = {"rr": 1, "sr": 2, "dc": 10, "mg": 12, "hg": 14, "nh": 15, "dd": 16, "wf": 18}
_MAP_FLAGS = {
    "gd": mman.MAP_GROWSDOWN,
    "nr": mman.MAP_NORESERVE,
    "lo": mman.MAP_LOCKED,
    "ht": mman.MAP_HUGETLB,
}
_PROT = {"r": mman.PROT_READ, "w": mman.PROT_WRITE, "x": mman.PROT_EXEC}

Span = tuple[int, int]


def claim(mapping: proc.Mapping) -> type[VmaResource] | None:
    """The one kind that recognises a mapping."""
    claims = [resource for resource in vma_resources() if resource.recognises(mapping)]
    if len(claims) > 1:
        raise RuntimeError(f"{mapping} is claimed by {', '.join(c.__name__ for c in claims)}")
    return claims[0] if claims else None


def unsupported(mapping: proc.Mapping, task: DumpTask) -> str:
    """Why a mapping that no resource recognises cannot be dumped."""
    return f"{_name(mapping)} of {task} is of a kind that cannot be dumped"


def _name(mapping: proc.Mapping) -> str:
    return f"the mapping {mapping.start:#x}-{mapping.end:#x} {mapping.path or '(anonymous)'}"


class AddressSpaceDump:
    """Asks inside the task for what only it knows, then writes the images of its address space."""

    def __init__(self, task: DumpTask, context: DumpContext) -> None:
        self.task, self.context = task, context
        self._brk: Result | None = None

    def ask(self, program: Program) -> None:
        self._brk = program.call("brk", 0)
        self._dumpable = program.call("prctl", mman.PR_GET_DUMPABLE, 0, 0, 0, 0)
        self._thp_disabled = program.call("prctl", mman.PR_GET_THP_DISABLE, 0, 0, 0, 0, may_fail=True)

    def record(self) -> None:
        """Write mm-PID and the pages; what cannot be dumped is refused."""
        entry, private = self._layout()
        self.context.images.write("mm", self.task.vpid, entries=[entry])
        self._write_pages(private)

    def _layout(self) -> tuple[m.mm_entry, list[Span]]:
        from images import messages as m

        assert self._brk is not None
        stat, task = self.task.stat, self.task
        auxv = proc.read_bytes(task.pid, "auxv")
        entry = m.mm_entry(
            mm_start_code=stat.start_code, mm_end_code=stat.end_code, mm_start_data=stat.start_data,
            mm_end_data=stat.end_data, mm_start_stack=stat.start_stack, mm_start_brk=stat.start_brk,
            mm_brk=self._brk.value, mm_arg_start=stat.arg_start, mm_arg_end=stat.arg_end,
            mm_env_start=stat.env_start, mm_env_end=stat.env_end,
            mm_saved_auxv=[int.from_bytes(auxv[i : i + 8], "little") for i in range(0, len(auxv), 8)],
            exe_file_id=self.context.files.add_path(task, "exe", os.O_RDONLY),
            dumpable=self._dumpable.value, thp_disabled=self._thp_disabled.value == 1,
        )  # fmt: skip
        private: list[Span] = []
        for mapping in task.mappings:
            if task.foothold and mapping.start == task.foothold.address:
                continue
            resource = self._describe(mapping, entry)
            if resource is not None and resource.private_pages:
                private.append((mapping.start, mapping.end))
        return entry, private

    def _describe(self, mapping: proc.Mapping, mm: m.mm_entry) -> type[VmaResource] | None:
        resource = claim(mapping)
        if resource is None:
            self.context.refuse(unsupported(mapping, self.task))
            return None
        entry = mm.vmas.add(
            start=mapping.start, end=mapping.end, pgoff=mapping.offset, shmid=0, fd=-1,
            prot=sum(bit for letter, bit in _PROT.items() if letter in mapping.perms),
            flags=mman.MAP_SHARED if mapping.shared else mman.MAP_PRIVATE,
            status=VmaStatus.REGULAR | resource.status,
        )  # fmt: skip
        entry.flags |= sum(bit for name, bit in _MAP_FLAGS.items() if name in mapping.flags)
        if advice := sum(1 << bit for name, bit in _ADVICE.items() if name in mapping.flags):
            entry.madv = advice
        with note(f"while dumping {_name(mapping)} of {self.task}"):
            resource.dump(mapping, entry, self.task, self.context)
        return resource

    def _write_pages(self, private: list[Span]) -> None:
        from images.pages import PagesWriter

        runs = list(_private_pages(self.task.pid, private))
        self.context.report.pages_scanned += sum((end - start) // vm.PAGE_SIZE for start, end in private)
        pages_id = next_pages_id(self.context)
        with PagesWriter(self.context.images, "pagemap", self.task.vpid, pages_id) as writer:
            for start, end in runs:
                writer.present(start, (end - start) // vm.PAGE_SIZE)
            copy_pages(self.task.pid, runs, writer.fd)
        self.context.report.pages_written += sum(end - start for start, end in runs) // vm.PAGE_SIZE


def _private_pages(pid: int, private: list[Span]) -> Iterator[Span]:
    """Populated anonymous pages (not the page cache's, not the zero page) within the private mappings."""
    if not private:
        return
    unwanted = pagemap.PAGE_IS_FILE | pagemap.PAGE_IS_PFNZERO
    wanted = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = pagemap.scan(fd, private[0][0], private[-1][1], any_of=wanted, all_of=unwanted, invert=unwanted)
    finally:
        os.close(fd)
    position = 0
    for run_start, run_end, _ in found:
        while private[position][1] <= run_start and position < len(private) - 1:
            position += 1
        index = position
        while index < len(private) and private[index][0] < run_end:
            start, end = max(run_start, private[index][0]), min(run_end, private[index][1])
            if start < end:
                yield start, end
            index += 1


def copy_pages(pid: int, runs: list[Span], output: int) -> None:
    """Append the bytes of these runs to a file; unreadable mappings are read through /proc/PID/mem."""
    if not runs:
        return
    with mmap.mmap(-1, CHUNK) as buffer, memoryview(buffer) as view:
        address = vm.address_of(buffer)
        for batch in _batches(runs):
            size = sum(length for _, length in batch)
            done = 0
            try:
                done = vm.readv(pid, batch, address, size)
            except OSError:
                done = 0
            if done < size:
                _read_protected(pid, batch, done, view)
            _write_all(output, view[:size])


def _batches(runs: list[Span]) -> Iterator[list[Span]]:
    """(start, length) spans in groups of at most CHUNK bytes and IOV_MAX pieces."""
    batch: list[Span] = []
    room = CHUNK
    for start, end in runs:
        while start < end:
            length = min(end - start, room)
            batch.append((start, length))
            start += length
            room -= length
            if not room or len(batch) == vm.IOV_MAX:
                yield batch
                batch, room = [], CHUNK
    if batch:
        yield batch


def _read_protected(pid: int, batch: list[Span], done: int, view: memoryview) -> None:
    """The rest of a batch through /proc/PID/mem, which reads what the task itself may not (PROT_NONE)."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        position = 0
        for start, length in batch:
            skip = min(length, max(0, done - position))
            while skip < length:
                skip += os.preadv(fd, [view[position + skip : position + length]], start + skip)
            position += length
    finally:
        os.close(fd)


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        view = view[os.write(fd, view) :]
