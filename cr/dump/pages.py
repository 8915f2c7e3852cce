"""Find the pages that belong to a task alone, and copy them into a pages image."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
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


TRACKED = pagemap.PAGE_IS_WRITTEN
"""what a written page is to a kernel that tracks with userfaultfd(2)"""
_PRESENT = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED


@dataclass
class PrivatePages:
    """Runs of pages with contents, and of guard pages (madvise(2) MADV_GUARD_INSTALL), in ascending order."""

    runs: list[Span] = field(default_factory=list)
    guards: list[Span] = field(default_factory=list)
    unchanged: list[Span] = field(default_factory=list)
    """pages with contents that are known not to have been written since the parent snapshot"""
    lazy: list[Span] = field(default_factory=list)
    """the mappings whose pages a restore may bring later; each run is within one mapping"""

    def is_lazy(self, address: int) -> bool:
        index = bisect_right(self.lazy, address, key=lambda span: span[0]) - 1
        return index >= 0 and address < self.lazy[index][1]


def find(pid: int, anonymous: list[Span], files: list[Span], written: int = 0) -> PrivatePages:
    """Populated pages that are a task's own (not the page cache's, not the zero page) in its private mappings.

    Where writes are tracked, `written` has the categories of which a written page has one.
    """
    found: list[pagemap.Run] = []
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for spans, mapped in _stretches(anonymous, files):
            found += _scan(fd, spans, mapped, written)
    finally:
        os.close(fd)
    return _sorted_out(found, written)


def _stretches(anonymous: list[Span], files: list[Span]) -> Iterator[tuple[list[Span], bool]]:
    """Neighbours of one kind, and whether they are of files."""
    for mapped, group in groupby(
        sorted([*((*span, False) for span in anonymous), *((*span, True) for span in files)]), key=lambda span: span[2]
    ):
        yield [(start, end) for start, end, _ in group], mapped


def _scan(fd: int, spans: list[Span], mapped: bool, written: int) -> Iterator[pagemap.Run]:
    """To ask whether a page is a file's takes the kernel five times as long: it has to look at every single page."""
    unwanted = pagemap.PAGE_IS_PFNZERO | (pagemap.PAGE_IS_FILE if mapped else 0)
    report = written | (pagemap.PAGE_IS_WPALLOWED if written == TRACKED else 0)
    runs = pagemap.scan_with_guards(
        fd, spans[0][0], spans[-1][1], any_of=_PRESENT, all_of=unwanted, invert=unwanted, report=report
    )
    index = 0
    for start, end, categories in runs:
        while spans[index][1] <= start:
            index += 1
        for first, last in clip([(start, end)], spans, index):
            yield first, last, categories


def _sorted_out(found: list[pagemap.Run], written: int) -> PrivatePages:
    pages = PrivatePages()
    for start, end, categories in found:
        if categories & pagemap.PAGE_IS_GUARD:
            pages.guards.append((start, end))
        elif _is_unchanged(categories, written):
            pages.unchanged.append((start, end))
        else:
            pages.runs.append((start, end))
    return pages


def _is_unchanged(categories: int, written: int) -> bool:
    """Pages of mappings that are not tracked (made, or moved, since) count as written."""
    tracked = categories & pagemap.PAGE_IS_WPALLOWED if written == TRACKED else written
    return bool(tracked) and not categories & written


def clip(runs: Iterable[Span], allowed: list[Span], position: int = 0) -> Iterator[Span]:
    """The parts of ascending runs that lie within ascending spans (from number `position` on)."""
    for run_start, run_end in runs:
        while position < len(allowed) and allowed[position][1] <= run_start:
            position += 1
        index = position
        while index < len(allowed) and allowed[index][0] < run_end:
            yield max(run_start, allowed[index][0]), min(run_end, allowed[index][1])
            index += 1


def gaps(spans: Iterable[Span]) -> list[Span]:
    """What ascending spans leave of all addresses."""
    found, end = [], 0
    for start, following in spans:
        if end < start:
            found.append((end, start))
        end = following
    return [*found, (end, 1 << 64)]


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
    by several threads at once.  Memory of tasks that are `living` may be gone by then: it is zeros.
    """

    def __init__(self, *, living: bool = False) -> None:
        self._living = living
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
            _read_protected(pid, pieces, done, view, self._living)
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


def _read_protected(pid: int, pieces: list[Span], done: int, view: memoryview, living: bool) -> None:
    """The rest of a batch through /proc/PID/mem, which reads what the task itself may not (PROT_NONE)."""
    try:
        fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if not living:
            raise
        view[done:] = bytes(len(view) - done)
        return
    try:
        position = 0
        for start, length in pieces:
            skip = min(length, max(0, done - position))
            while skip < length:
                skip += _read_some(fd, start + skip, view[position + skip : position + length], living)
            position += length
    finally:
        os.close(fd)


def _read_some(fd: int, address: int, view: memoryview, living: bool) -> int:
    """How many bytes came; of a page that a living task has unmapped meanwhile, zeros."""
    try:
        if done := os.preadv(fd, [view], address):
            return done
        if not living:
            raise OSError(errno.EIO, f"no memory at {address:#x}")
    except OSError as error:
        if not living or error.errno != errno.EIO:
            raise
    page = min(len(view), vm.PAGE_SIZE - address % vm.PAGE_SIZE)
    view[:page] = bytes(page)
    return page
