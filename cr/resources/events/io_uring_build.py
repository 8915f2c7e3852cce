"""Rings of io_uring(7) made again: with the counts that the old ones had, and what was in their memory."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from cr.contract.owner import restore_owner
from cr.kernel import files
from cr.kernel import io_uring as kernel
from cr.model import BadImages, CheckpointError
from cr.resources.events.io_uring_passing import take

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.remote.program import Program
    from images import messages as m

_MOST = 1 << 30
"""requests that are played again: some minutes"""
_MOST_REGISTERED = 1 << 20


def _entries(context: RestoreContext) -> dict[int, m.woodfrog_io_uring_entry]:
    def read() -> dict[int, m.woodfrog_io_uring_entry]:
        found = context.images.read("woodfrog-io-uring") if context.images.exists("woodfrog-io-uring") else []
        return {entry.id: entry for entry in found}

    return context.once("rings of io_uring", read)


def is_ring(file_id: int, context: RestoreContext) -> bool:
    """Whether this file of the images is a ring."""
    return file_id in _entries(context)


def entry_of(file_id: int, context: RestoreContext) -> m.woodfrog_io_uring_entry:
    return _entries(context)[file_id]


def build(record: m.ext_file_entry, context: RestoreContext) -> int:
    """A descriptor of ours of a new ring."""
    entry = entry_of(record.id, context)
    _check_numbers(entry)
    try:
        fd, layout = kernel.setup(entry.sq_entries, entry.cq_entries, entry.setup)
    except OSError as error:
        raise CheckpointError(
            f"cannot make a ring of io_uring: {error.strerror} (see kernel.io_uring_disabled)"
        ) from error
    _check(entry, layout)
    rings = kernel.Memory(fd, layout.array + 4 * layout.sq_entries, 0)
    requests = kernel.Memory(fd, layout.request_size * layout.sq_entries, kernel.REQUESTS_OFFSET)
    array = struct.pack(f"<{layout.sq_entries}I", *range(layout.sq_entries))
    rings.write(layout.array, array)
    _advance(fd, rings, layout, entry.completed)
    rings.write(0, entry.rings)
    if not any(entry.rings[layout.array :]):
        rings.write(layout.array, array)  # the old ring had none, or the program has not written it yet
    requests.write(0, entry.requests)
    files.set_status_flags(fd, entry.flags)
    restore_owner(fd, record.fown, context)
    return fd


def _check_numbers(entry: m.woodfrog_io_uring_entry) -> None:
    indices = [*((file.index, entry.files) for file in entry.file), *((b.index, entry.buffers) for b in entry.buffer)]
    if max(entry.files, entry.buffers) > _MOST_REGISTERED or any(index >= room for index, room in indices):
        raise BadImages("woodfrog-io-uring.img has more registered than there is room for")
    if entry.submitted != entry.completed:
        raise BadImages("woodfrog-io-uring.img has a ring with requests in flight")
    if entry.completed > _MOST:
        raise CheckpointError(f"a ring of io_uring has had {entry.completed} requests, too many to restore it")


def _check(entry: m.woodfrog_io_uring_entry, layout: kernel.Layout) -> None:
    if (layout.sq_entries, layout.cq_entries) != (entry.sq_entries, entry.cq_entries):
        raise BadImages(f"there are no rings of {entry.sq_entries} and {entry.cq_entries} entries")
    if layout.array != entry.array_offset:
        raise CheckpointError("this kernel lays rings of io_uring out otherwise: restore on the one of the dump")
    sizes = layout.end_of_completions, layout.array + 4 * layout.sq_entries
    if len(entry.rings) not in sizes or len(entry.requests) != layout.request_size * layout.sq_entries:
        raise BadImages("woodfrog-io-uring.img has a ring that is shorter or longer than its memory")


def _advance(fd: int, rings: kernel.Memory, layout: kernel.Layout, count: int) -> None:
    """The kernel counts by itself: so many requests that do nothing; the submission entries say which."""
    tail = rings.word(layout.sq_tail)
    while count:
        batch = min(count, layout.sq_entries)
        tail += batch
        rings.set_word(layout.sq_tail, tail)
        if kernel.enter(fd, batch) != batch:
            raise CheckpointError("a new ring of io_uring does not take requests")
        rings.set_word(layout.cq_head, rings.word(layout.cq_tail))
        count -= batch


def settle(record: m.ext_file_entry, program: Program, fd: int, task: RestoreTask, context: RestoreContext) -> None:
    """What stands for the ring becomes the ring; its owner registers files and buffers again."""
    entry, table = entry_of(record.id, context), task.ids.files_id if task.ids is not None else task.vpid
    placed: set[tuple[int, int]] = context.once("rings placed", set)
    if (table, fd) in placed:
        return
    placed.add((table, fd))
    slot = next(slot for slot in task.fds if slot.fd == fd)
    ring = take(program, fd, context.file(record.id))
    program.call("dup3", ring, fd, os.O_CLOEXEC if slot.flags & 1 else 0)
    program.call("close", ring)
    if entry.owner == task.vpid and context.once(("ring registered", record.id), lambda: fd) == fd:
        _register(entry, program, fd)


def _register(entry: m.woodfrog_io_uring_entry, program: Program, fd: int) -> None:
    if entry.files:
        numbers = [-1] * entry.files
        for file in entry.file:
            numbers[file.index] = file.fd
        data = program.data(struct.pack(f"<{entry.files}i", *numbers))
        program.call("io_uring_register", fd, kernel.REGISTER_FILES, data, entry.files, note="files")
    if entry.buffers:
        vectors = [0] * (2 * entry.buffers)
        for buffer in entry.buffer:
            vectors[2 * buffer.index : 2 * buffer.index + 2] = buffer.address, buffer.length
        words = program.words(*vectors)
        program.call("io_uring_register", fd, kernel.REGISTER_BUFFERS, words, entry.buffers, note="buffers")
