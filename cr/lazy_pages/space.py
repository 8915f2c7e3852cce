"""One address space whose pages are brought as they are needed."""

from __future__ import annotations

import errno
import mmap
import os
import time

from cr.kernel import missing_pages as kernel
from cr.kernel import vm
from cr.lazy_pages.remaining import Piece, Remaining
from cr.lazy_pages.source import Source
from images.pages import PAGE_SIZE

NEAR = 16 * PAGE_SIZE
"""bytes around a page that somebody waits for, which come with it"""
BATCH = 1 << 20
"""bytes that are brought at once in the background: so long may somebody have to wait"""
_PASSED_OVER = (errno.EEXIST, errno.EAGAIN, errno.ENOENT)
_MOMENT = 0.001  # seconds
_MOST_MISSES = 200


class Space:
    """`pid`: the task in the images; `fd`: the userfaultfd; children born since then have spaces of their own."""

    def __init__(self, pid: int, fd: int, remaining: Remaining) -> None:
        self.pid, self.fd, self.remaining = pid, fd, remaining
        self.gone = False
        self.children: list[Space] = []
        self._position = 0
        self._waiting: list[int] = []
        self._events = self._misses = 0

    def close(self) -> None:
        """The kernel lets everybody go who still waits: from now on, missing pages are empty ones."""
        os.close(self.fd)

    def give_up(self) -> None:
        """What has not come will never come: better a task that ends by SIGBUS than one that goes on with zeros."""
        for piece in self.remaining:
            place = piece.start
            while place < piece.end:
                done, code = kernel.poison(self.fd, place, piece.end - place)
                place += done or (PAGE_SIZE if code in _PASSED_OVER else piece.end - place)

    def look(self, source: Source, buffer: mmap.mmap) -> None:
        """Do what the events ask for."""
        self._read_events()
        self._serve_waiting(source, buffer)

    def _serve_waiting(self, source: Source, buffer: mmap.mmap) -> None:
        while self._waiting and not self.gone:
            self._serve(self._waiting.pop(), source, buffer)

    def _read_events(self) -> None:
        while events := kernel.events(self.fd):
            for event in events:
                self._note(event)
                self._events += 1

    def _note(self, event: kernel.Event) -> None:
        if event.kind == kernel.FAULT:
            self._waiting.append(event.address)
        elif event.kind == kernel.FORK:
            self.children.append(Space(self.pid, event.fd, self.remaining.copy()))
        elif event.kind == kernel.REMAP:
            self.remaining.move(event.first, event.second, event.third)
        elif event.kind in (kernel.REMOVE, kernel.UNMAP):
            self.remaining.take(event.first, event.second)

    def _serve(self, address: int, source: Source, buffer: mmap.mmap) -> None:
        """Bring the page that somebody waits for, and some around it."""
        piece = self.remaining.at(address)
        if piece is None:
            self._bring_empty(address)
            return
        start = max(piece.start, address & -NEAR)
        if not self._bring(start, min(piece.end, start + NEAR), source, buffer):
            self._waiting.append(address)

    def bring_some(self, source: Source, buffer: mmap.mmap) -> None:
        """The next pages in the background, those behind what was brought last."""
        piece = self.remaining.next(self._position)
        if piece is None:
            return
        start = max(piece.start, self._position) if self._position < piece.end else piece.start
        self._position = min(piece.end, start + BATCH)
        self._bring(start, self._position, source, buffer)
        self._serve_waiting(source, buffer)

    def _bring(self, start: int, end: int, source: Source, buffer: mmap.mmap) -> bool:
        """False where the task has changed its memory meanwhile: then look again at what is where."""
        for piece in self.remaining.take(start, end):
            with memoryview(buffer) as view, view[: piece.end - piece.start] as part:
                source.fetch(self.pid, piece.origin, piece.nr_pages, part)
            if not self._copy(piece, vm.address_of(buffer)):
                return False
        return True

    def _copy(self, piece: Piece, address: int) -> bool:
        """Place pages; where the task changes its memory just now, what is left comes after that (False)."""
        done, size = 0, piece.end - piece.start
        while done < size and not self.gone:
            count, code = kernel.copy(self.fd, piece.start + done, address + done, size - done)
            done += count
            if code in (errno.EAGAIN, errno.ENOENT) and not count:
                self._put_back(piece.part(piece.start + done, piece.end), code)
                return False
            if code != errno.EAGAIN:  # after some pages it only says that the next one is special
                done += self._settle(code, piece.start + done)
        return True

    def _put_back(self, piece: Piece, code: int) -> None:
        """An event says, now or in a moment, what has become of the memory; only then its pages may be forgotten.

        ENOENT without any event, for long: nobody has registered that memory with us.
        """
        self.remaining.put([piece])
        before = self._events
        self._read_events()
        self._misses = self._misses + 1 if code == errno.ENOENT and self._events == before else 0
        if self._misses:
            time.sleep(_MOMENT)
        if self._misses > _MOST_MISSES:
            self.remaining.take(piece.start, piece.start + PAGE_SIZE)

    def _settle(self, code: int, place: int) -> int:
        """Bytes to pass over after an error at `place`."""
        if code == errno.EEXIST:
            self._wake(place)
            return PAGE_SIZE
        if code in (errno.ESRCH, errno.ENOSPC):  # the memory is gone: exit or execve(2)
            self.gone = True
        elif code:
            raise OSError(code, f"userfaultfd: {os.strerror(code)} at {place:#x} of task {self.pid}")
        return 0

    def _wake(self, address: int) -> None:
        kernel.wake(self.fd, address, PAGE_SIZE)

    def _bring_empty(self, address: int) -> None:
        _, code = kernel.zero(self.fd, address, PAGE_SIZE)
        if code == errno.EAGAIN:
            self._read_events()
            self._waiting.append(address)
        elif code != errno.ENOENT:  # unmapped by another thread: whoever waits finds out
            self._settle(code, address)
        else:
            self._wake(address)
