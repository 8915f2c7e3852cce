"""Find the pages that belong to a task alone, and copy them into a pages image."""

from __future__ import annotations

import mmap
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Protocol

from cr.kernel import pagemap, vm
from cr.values import dataclass, field

CHUNK = 1 << 20  # what is read stays in the core's cache until it is written
WORKERS = 2  # one reads while the other writes: writes to one file wait for each other
PARALLEL_FROM = 16 << 20
MOST_WAITING = 32  # jobs, each with two open files

Span = tuple[int, int]
Batch = tuple[int, list[Span]]
"""offset in the pages image, (start, length) pieces"""


@dataclass
class PrivatePages:
    """Runs of pages with contents, and of guard pages (madvise(2) MADV_GUARD_INSTALL), in ascending order."""

    runs: list[Span] = field(default_factory=list)
    guards: list[Span] = field(default_factory=list)
    lazy: list[Span] = field(default_factory=list)
    """the mappings whose pages a restore may bring later; each run is within one mapping"""

    def is_lazy(self, address: int) -> bool:
        index = bisect_right(self.lazy, address, key=lambda span: span[0]) - 1
        return index >= 0 and address < self.lazy[index][1]


def find(pid: int, private: list[Span]) -> PrivatePages:
    """Populated anonymous pages (not the page cache's, not the zero page) within the private mappings."""
    found = PrivatePages()
    if not private:
        return found
    unwanted = pagemap.PAGE_IS_FILE | pagemap.PAGE_IS_PFNZERO
    wanted = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        runs = pagemap.scan_with_guards(
            fd, private[0][0], private[-1][1], any_of=wanted, all_of=unwanted, invert=unwanted
        )
    finally:
        os.close(fd)
    plain = [(start, end) for start, end, categories in runs if not categories & pagemap.PAGE_IS_GUARD]
    guards = [(start, end) for start, end, categories in runs if categories & pagemap.PAGE_IS_GUARD]
    found.runs = list(clip(plain, private))
    found.guards = list(clip(guards, private))
    return found


def clip(runs: Iterable[Span], allowed: list[Span]) -> Iterator[Span]:
    """The parts of ascending runs that lie within ascending spans."""
    position = 0
    for run_start, run_end in runs:
        while position < len(allowed) and allowed[position][1] <= run_start:
            position += 1
        index = position
        while index < len(allowed) and allowed[index][0] < run_end:
            yield max(run_start, allowed[index][0]), min(run_end, allowed[index][1])
            index += 1


class Output(Protocol):
    """What takes the bytes; see cr.contract.page_store.PageWriter."""

    def store_at(self, data: memoryview, offset: int) -> None: ...

    def abandon(self) -> None: ...


@dataclass
class _Job:
    """Memory to be copied in the background; `done` is called afterwards, by the thread that copied it."""

    pid: int
    runs: list[Span]
    output: Output
    done: Callable[[], None]


class Copier:
    """Copies memory of tasks into files; its buffers are populated before anything is frozen.

    Little memory is copied by a thread in the background, while the next task is looked at; much of it
    by several threads at once.
    """

    def __init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        self._buffers = [mmap.mmap(-1, CHUNK, flags=flags) for _ in range(WORKERS)]
        self._errors: list[BaseException] = []
        self._stop = False
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._room = threading.Semaphore(MOST_WAITING)
        self._background: threading.Thread | None = None
        self.reading = self.writing = 0
        """nanoseconds spent, over all workers"""

    def submit(self, pid: int, runs: list[Span], output: Output, done: Callable[[], None]) -> None:
        """Copy now or later; `finish` waits until all is done and raises what went wrong."""
        if sum(end - start for start, end in runs) >= PARALLEL_FROM:
            self.finish()  # the buffers are free again
            self.copy(pid, runs, output)
            done()
            return
        if self._background is None:
            self._background = threading.Thread(target=self._serve, daemon=True)
            self._background.start()
        self._room.acquire()
        self._queue.put(_Job(pid, runs, output, done))

    def finish(self) -> None:
        """Wait for everything that was submitted."""
        if self._background is not None:
            self._queue.put(None)
            self._background.join()
            self._background = None
        if self._errors:
            raise self._errors[0]

    def abort(self) -> None:
        """Give up what has been submitted."""
        self._stop = True
        if self._background is not None:
            self._queue.put(None)
            self._background.join()

    def _serve(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                if not self._stop:
                    self._work(job.pid, iter(list(batches_of(job.runs))), job.output, self._buffers[0])
                    job.done()
            except BaseException as error:
                self._stop = True
                self._errors.append(error)
            finally:
                self._room.release()

    def copy(self, pid: int, runs: list[Span], output: Output) -> None:
        """Write the bytes of these runs one after the other to `output`, from its beginning."""
        batches = iter(list(batches_of(runs)))
        helpers = [
            threading.Thread(target=self._help, args=(pid, batches, output, buffer)) for buffer in self._buffers[1:]
        ]
        try:
            for helper in helpers:
                helper.start()
            self._work(pid, batches, output, self._buffers[0])
        finally:
            for helper in helpers:
                helper.join()
        if self._errors:
            raise self._errors[0]

    def _help(self, pid: int, batches: Iterator[Batch], output: Output, buffer: mmap.mmap) -> None:
        try:
            self._work(pid, batches, output, buffer)
        except BaseException as error:
            self._errors.append(error)

    def _work(self, pid: int, batches: Iterator[Batch], output: Output, buffer: mmap.mmap) -> None:
        try:
            with memoryview(buffer) as view:
                address = vm.address_of(buffer)
                for offset, pieces in batches:
                    if self._stop:
                        output.abandon()
                        return
                    self._move(pid, pieces, address, view, output, offset)
        except BaseException:
            self._stop = True
            output.abandon()
            raise

    def _move(self, pid: int, pieces: list[Span], address: int, view: memoryview, output: Output, offset: int) -> None:
        began = time.monotonic_ns()
        size = sum(length for _, length in pieces)
        try:
            done = vm.readv(pid, pieces, address, size)
        except OSError:
            done = 0
        if done < size:
            _read_protected(pid, pieces, done, view)
        read = time.monotonic_ns()
        output.store_at(view[:size], offset)
        self.reading += read - began
        self.writing += time.monotonic_ns() - read


def batches_of(runs: list[Span]) -> Iterator[Batch]:
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


def _read_protected(pid: int, pieces: list[Span], done: int, view: memoryview) -> None:
    """The rest of a batch through /proc/PID/mem, which reads what the task itself may not (PROT_NONE)."""
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        position = 0
        for start, length in pieces:
            skip = min(length, max(0, done - position))
            while skip < length:
                skip += os.preadv(fd, [view[position + skip : position + length]], start + skip)
            position += length
    finally:
        os.close(fd)
