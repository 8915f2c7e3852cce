"""Find the pages that belong to a task alone, and copy them into a pages image."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cr.kernel import pagemap, vm

CHUNK = 1 << 20  # what is read stays in the core's cache until it is written
WORKERS = 2  # one reads while the other writes: writes to one file wait for each other
PARALLEL_FROM = 16 << 20

Span = tuple[int, int]
Batch = tuple[int, list[Span]]
"""offset in the pages image, (start, length) pieces"""


@dataclass
class PrivatePages:
    """Runs of pages with contents, and of guard pages (madvise(2) MADV_GUARD_INSTALL), in ascending order."""

    runs: list[Span] = field(default_factory=list)
    guards: list[Span] = field(default_factory=list)


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


class Copier:
    """Copies memory of tasks into files; its buffers are populated before anything is frozen."""

    def __init__(self) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        self._buffers = [mmap.mmap(-1, CHUNK, flags=flags) for _ in range(WORKERS)]
        self._errors: list[BaseException] = []
        self._stop = False
        self.reading = self.writing = 0
        """nanoseconds spent, over all workers"""

    def copy(self, pid: int, runs: list[Span], output: int) -> None:
        """Write the bytes of these runs one after the other to `output`, from its beginning."""
        batches = iter(list(batches_of(runs)))
        many = WORKERS if sum(end - start for start, end in runs) >= PARALLEL_FROM else 1
        self._stop = False
        helpers = [
            threading.Thread(target=self._work, args=(pid, batches, output, buffer)) for buffer in self._buffers[1:many]
        ]
        try:
            for helper in helpers:
                helper.start()
            self._work(pid, batches, output, self._buffers[0])
        finally:
            self._stop |= bool(self._errors)
            for helper in helpers:
                helper.join()
        if self._errors:
            raise self._errors.pop()

    def _work(self, pid: int, batches: Iterator[Batch], output: int, buffer: mmap.mmap) -> None:
        try:
            with memoryview(buffer) as view:
                address = vm.address_of(buffer)
                for offset, pieces in batches:
                    if self._stop:
                        return
                    self._move(pid, pieces, address, view, output, offset)
        except BaseException as error:
            self._stop = True
            if threading.current_thread() is threading.main_thread():
                raise
            self._errors.append(error)

    def _move(self, pid: int, pieces: list[Span], address: int, view: memoryview, output: int, offset: int) -> None:
        began = time.monotonic_ns()
        size = sum(length for _, length in pieces)
        try:
            done = vm.readv(pid, pieces, address, size)
        except OSError:
            done = 0
        if done < size:
            _read_protected(pid, pieces, done, view)
        read = time.monotonic_ns()
        position = 0
        while position < size:
            position += os.pwrite(output, view[position:size], offset + position)
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
