"""Asynchronous I/O contexts: made by io_setup(2), brought to their events, moved to where they were.

The kernel keeps a count of its own of the events it has put into a ring, so a ring comes to its place in the circle
by requests: writes to /dev/null, which are done at once.  Then what the events say is put over those of the writes.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import mman, vm
from cr.model import BadImages, CheckpointError
from cr.remote.program import Program, Result
from cr.resources.memory.aio_ring import EVENT_SIZE, HEAD_SIZE, Ring
from cr.values import dataclass
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from images import messages as m

_AIORING = int(VmaStatus.AIORING)  # a plain number: an operation on a flag class takes a microsecond
_BATCH = 256
_HEAD_OFFSET = 8
_PWRITE = 1
_IOCB = struct.Struct("<QIiHhIQQqQII")


def restore(task: RestoreTask, context: RestoreContext) -> None:
    """All contexts of a task, once everything else is mapped: the kernel finds room for them elsewhere."""
    assert task.mm is not None
    rings = {vma.start: vma.end for vma in task.mm.vmas if vma.status & _AIORING}
    for entry in task.mm.aios:
        if rings.get(entry.id) != entry.id + entry.ring_len:
            raise BadImages(f"mm-{task.vpid}.img has an asynchronous I/O ring at {entry.id:#x} that is not mapped")
        _restore(task, context, entry)


def _restore(task: RestoreTask, context: RestoreContext, entry: m.aio_ring_entry) -> None:
    program = Program()
    handle = program.buffer(8)
    program.call("io_setup", entry.nr_req, handle)
    context.run(task.leader, program)
    made = struct.unpack("<Q", handle.bytes)[0]
    ring, old = Ring.read(task.puppet.tid, made), Ring.read(task.puppet.tid, entry.id)
    _check(ring, entry, task)
    if old.known:
        _Turning(task, context, made, entry.nr_req).turn(ring, old)
        _copy_events(task.puppet.tid, entry.id, made, ring)
    program = Program()
    length, flags = entry.ring_len, mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
    program.call("mremap", made, length, length, flags, entry.id)
    context.run(task.leader, program)


def _check(ring: Ring, entry: m.aio_ring_entry, task: RestoreTask) -> None:
    """The kernel makes rings larger where there are more processors."""
    if ring.length != entry.ring_len:
        raise CheckpointError(
            f"the asynchronous I/O ring of {task} has {entry.ring_len} bytes, this kernel makes it {ring.length}: "
            "restore it on a machine with as many processors"
        )


def _copy_events(pid: int, source: int, target: int, ring: Ring) -> None:
    """What was fetched by hand, past the kernel, shows in the head only."""
    size = EVENT_SIZE * ring.events
    vm.write(pid, target + HEAD_SIZE, vm.read(pid, source + HEAD_SIZE, size))
    vm.write(pid, target + _HEAD_OFFSET, vm.read(pid, source + _HEAD_OFFSET, 4))


@dataclass
class _Turning:
    """Requests to a new context of a puppet that has no descriptors yet."""

    task: RestoreTask
    context: RestoreContext
    made: int
    most: int
    """requests at a time"""

    def turn(self, ring: Ring, old: Ring) -> None:
        """Let as many events come, and fetch as many, that head and tail are where they were."""
        if old.events != ring.events or max(old.head, old.tail) >= old.events:
            raise BadImages(f"the asynchronous I/O ring of {self.task} is not that of {ring.events} events")
        at_once = min(self.most, _BATCH)
        for done in range(0, old.head, at_once):
            self._submit(min(at_once, old.head - done), fetch=True)
        for done in range(0, old.waiting, at_once):
            self._submit(min(at_once, old.waiting - done), fetch=False)

    def _submit(self, count: int, *, fetch: bool) -> None:
        program = Program()
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            slot = self.context.give(program, [null])[0]
        finally:
            os.close(null)
        request = program.data(_IOCB.pack(0, 0, 0, _PWRITE, 0, slot, 0, 0, 0, 0, 0, 0))
        results = [program.call("io_submit", self.made, count, program.words(*[request] * count))]
        if fetch:
            events = program.buffer(EVENT_SIZE * count)
            results.append(program.call("io_getevents", self.made, count, count, events, 0))
        program.call("close", slot)
        self.context.run(self.task.leader, program)
        self._check_counts(results, count)

    def _check_counts(self, results: list[Result], count: int) -> None:
        if any(result.value != count for result in results):
            raise CheckpointError(f"the asynchronous I/O ring of {self.task} takes no {count} events: restore it again")
