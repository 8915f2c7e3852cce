"""The memory of io_uring rings: it can be mapped only where the kernel chooses, neither mmap(2) nor mremap(2) move it.

So everything else of the address space is taken for a moment; one place is left.
"""

from __future__ import annotations

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import mman, proc
from cr.model import CheckpointError
from cr.remote.program import Program
from cr.resources.events.io_uring import IoUringMapping
from cr.resources.events.io_uring_passing import carrier, take
from cr.restore.memory_check import TASK_SIZE

_LOWEST = 0x10000
_FILLER = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED | mman.MAP_NORESERVE


def restore(task: RestoreTask, context: RestoreContext) -> None:
    """Map the rings of a task, once everything else is mapped; their places are held by empty mappings."""
    assert task.mm is not None
    entries = [vma for vma in task.mm.vmas if vma.status & IoUringMapping.status == IoUringMapping.status]
    if not entries:
        return
    program = Program()
    rings = [context.file(entry.shmid) for entry in entries]
    slots = context.give(program, [carrier(ring, context) for ring in rings])
    gaps = _gaps(task.puppet.tid)
    for start, end in gaps:
        program.call("mmap", start, end - start, 0, _FILLER, -1, 0, note="the only room left is that of a ring")
    results = []
    for slot, ring, entry in zip(slots, rings, entries, strict=True):
        length, taken = entry.end - entry.start, take(program, slot, ring)
        program.call("munmap", entry.start, length)
        results.append(program.call("mmap", 0, length, entry.prot, mman.MAP_SHARED, taken, entry.pgoff))
        program.call("close", taken)
    for start, end in gaps:
        program.call("munmap", start, end - start)
    for slot in slots:
        program.call("close", slot)
    context.run(task.leader, program)
    for result, entry in zip(results, entries, strict=True):
        if result.value != entry.start:
            raise CheckpointError(f"a ring of io_uring of {task} comes to {result.value:#x}, not to {entry.start:#x}")


def _gaps(pid: int) -> list[tuple[int, int]]:
    """Where nothing is mapped."""
    gaps, position = [], _LOWEST
    for mapping in proc.mappings(pid):
        if mapping.start > position:
            gaps.append((position, min(mapping.start, TASK_SIZE)))
        position = max(position, mapping.end)
    if position < TASK_SIZE:
        gaps.append((position, TASK_SIZE))
    return gaps
