"""Copy memory of tasks into pages images."""

from __future__ import annotations

import mmap
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from queue import SimpleQueue
from typing import Protocol

from cr.dump.pages import Span
from cr.dump.task_memory import TaskMemory
from cr.kernel import batch, vm
from images.pages import PIECE

CHUNK = 1 << 20  # what is read stays in the core's cache until it is written
WORKERS = 2  # of one file, one reads while the other writes: writes to it wait for each other
MOST_WAITING = 32  # jobs, each with two open files
_AT_ONCE = 8  # chunks that are copied in one go

Chunk = tuple[int, list[Span]]
"""offset in the pages image, (start, length) pieces of together at most CHUNK bytes"""

_TIMESPEC = struct.Struct("<QQ")
_PWRITE64, _CLOCK_GETTIME = 18, 228


class Output(Protocol):
    """What takes the bytes; see cr.contract.page_store.PageWriter."""

    @property
    def file(self) -> int | None:
        """The descriptor of the file that holds just the bytes, where there is one."""

    def store_at(self, data: memoryview, offset: int) -> None: ...

    def abandon(self) -> None: ...


class _Job:
    """Memory of one task that goes to one place; `done` is called when the last part of it is there."""

    def __init__(self, memory: TaskMemory, runs: list[Span], output: Output, done: Callable[[], None]) -> None:
        self.memory, self.output, self.done = memory, output, done
        chunks = list(chunks_of(runs))
        self.portions = [chunks[start : start + _AT_ONCE] for start in range(0, len(chunks), _AT_ONCE)] or [[]]
        self._left = len(self.portions)
        self._lock = threading.Lock()

    def is_last(self) -> bool:
        """One portion is there: was it the last?"""
        with self._lock:
            self._left -= 1
            return not self._left


class Copier:
    """Copies memory of tasks into files in the background, while the tasks are described.

    Its buffers are populated, and its threads run, before anything is frozen. Memory of tasks that are `living` may be
    gone by then: it is zeros.
    """

    def __init__(self, *, living: bool = False) -> None:
        self._living = living
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        self._buffers = [mmap.mmap(-1, CHUNK, flags=flags) for _ in range(WORKERS)]
        self._errors: list[BaseException] = []
        self._stop = False
        self._queue: SimpleQueue[tuple[_Job, list[Chunk]] | None] = SimpleQueue()
        self._room = threading.Semaphore(MOST_WAITING)
        self._in_one_go = batch.possible()
        self._workers: list[threading.Thread] = []
        self._begin()
        self.reading = self.writing = 0
        """nanoseconds spent, over all workers"""

    def _begin(self) -> None:
        for buffer in self._buffers:
            worker = threading.Thread(target=self._serve, args=(buffer,), daemon=True)
            worker.start()
            self._workers.append(worker)

    def submit(
        self, pid: int, runs: list[Span], output: Output, done: Callable[[], None], *, shared: bool = False
    ) -> None:
        """Copy soon, to the beginning of `output`; `finish` waits until all is done and raises what went wrong.

        `shared`: some of it is shared with other processes (copy on write), and is to stay so.
        """
        if not self._workers:
            self._begin()
        self._room.acquire()
        memory = TaskMemory(pid, shared=shared or self._living, living=self._living)
        job = _Job(memory, runs, output, done)
        for portion in job.portions:
            self._queue.put((job, portion))

    def finish(self) -> None:
        """Wait for everything that was submitted."""
        self._join()
        if self._errors:
            raise self._errors[0]

    def abort(self) -> None:
        """Give up what has been submitted."""
        self._stop = True
        self._join()

    def _join(self) -> None:
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()
        self._workers.clear()

    def _serve(self, buffer: mmap.mmap) -> None:
        while (found := self._queue.get()) is not None:
            job, portion = found
            try:
                self._work(job, portion, buffer)
                if job.is_last():
                    job.memory.close()
                    self._room.release()
                    if not self._stop:
                        job.done()
            except BaseException as error:
                self._stop = True
                self._errors.append(error)
                job.output.abandon()
                self._room.release()  # whoever submits must not wait: `finish` tells

    def _work(self, job: _Job, portion: list[Chunk], buffer: mmap.mmap) -> None:
        if self._stop:
            job.output.abandon()
            return
        with memoryview(buffer) as view:
            done = self._move_all(job, portion, vm.address_of(buffer))
            for offset, pieces in portion[done:]:
                self._move(job, pieces, view, offset)

    def _move_all(self, job: _Job, portion: list[Chunk], address: int) -> int:
        """Copy in one go; how many chunks came through before one that takes more than that."""
        if not self._in_one_go or job.output.file is None or job.memory.is_gone:
            return 0
        calls, clock = batch.Batch(), _Clock(2 * len(portion) + 1)
        ends = []
        clock.note(calls)
        for offset, pieces in portion:
            job.memory.ask(calls, pieces, address)
            clock.note(calls)
            size = sum(length for _, length in pieces)
            whole, rest = size - size % PIECE, size % PIECE
            file = job.output.file
            calls.extend(
                [(_PWRITE64, file, address + i, PIECE, offset + i, 0, 0, PIECE) for i in range(0, whole, PIECE)]
            )
            if rest:
                calls.call(_PWRITE64, file, address + whole, rest, offset + whole, expect=rest)
            clock.note(calls)
            ends.append(len(calls))
        made = calls.run()
        done = sum(end <= made for end in ends)
        spans = clock.spans(2 * done)
        self.reading += sum(spans[::2])
        self.writing += sum(spans[1::2])
        return done

    def _move(self, job: _Job, pieces: list[Span], view: memoryview, offset: int) -> None:
        began = time.monotonic_ns()
        size = sum(length for _, length in pieces)
        job.memory.read(pieces, view)
        read = time.monotonic_ns()
        job.output.store_at(view[:size], offset)
        self.reading += read - began
        self.writing += time.monotonic_ns() - read


class _Clock:
    """Looks at the clock in the course of a batch."""

    def __init__(self, count: int) -> None:
        self._room = batch.Room(_TIMESPEC.size * count)
        self._next = self._room.address

    def note(self, calls: batch.Batch) -> None:
        calls.call(_CLOCK_GETTIME, time.CLOCK_MONOTONIC, self._next, expect=0)
        self._next += _TIMESPEC.size

    def spans(self, count: int) -> list[int]:
        """Nanoseconds between the first looks, in order."""
        looks = list(_TIMESPEC.iter_unpack(self._room.content))[: count + 1]
        times = [second * 1_000_000_000 + rest for second, rest in looks]
        return [after - before for before, after in pairwise(times)]


def chunks_of(runs: list[Span]) -> Iterator[Chunk]:
    """Pieces in groups of at most CHUNK bytes and IOV_MAX pieces."""
    pieces: list[Span] = []
    offset, size = 0, 0
    for start, end in runs:
        while start < end:
            length = min(end - start, CHUNK - size)
            pieces.append((start, length))
            start += length
            size += length
            if size == CHUNK or len(pieces) == vm.IOV_MAX:
                yield offset, pieces
                offset, pieces, size = offset + size, [], 0
    if pieces:
        yield offset, pieces
