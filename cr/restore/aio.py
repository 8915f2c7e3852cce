"""Asynchronous I/O contexts: made by io_setup(2), then their rings are moved to where they were."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import mman, vm
from cr.model import CheckpointError
from cr.remote.program import Program
from cr.resources.aio_ring import EVENT_SIZE, HEAD_SIZE

if TYPE_CHECKING:
    from images import messages as m


def restore(task: RestoreTask, context: RestoreContext) -> None:
    """All contexts of a task, once everything else is mapped: the kernel finds room for them elsewhere."""
    assert task.mm is not None
    for entry in task.mm.aios:
        _restore(task, context, entry)


def _restore(task: RestoreTask, context: RestoreContext, entry: m.aio_ring_entry) -> None:
    program = Program()
    handle = program.buffer(8)
    program.call("io_setup", entry.nr_req, handle)
    context.run(task.leader, program)
    made = struct.unpack("<Q", handle.bytes)[0]
    _check(vm.read(task.puppet.tid, made, 8), entry, task)
    program = Program()
    length, flags = entry.ring_len, mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
    program.call("mremap", made, length, length, flags, entry.id)
    context.run(task.leader, program)


def _check(head: bytes, entry: m.aio_ring_entry, task: RestoreTask) -> None:
    """struct aio_ring begins with its id and the number of its events; it depends on the processors."""
    _, events = struct.unpack("<II", head)
    length = -(-(HEAD_SIZE + EVENT_SIZE * events) // vm.PAGE_SIZE) * vm.PAGE_SIZE
    if length != entry.ring_len:
        raise CheckpointError(
            f"the asynchronous I/O ring of {task} has {entry.ring_len} bytes, this kernel makes it {length}: "
            "restore it on a machine with as many processors"
        )
