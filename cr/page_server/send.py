"""A dump's side of a page server: pages go there instead of into images."""

from __future__ import annotations

import os
import threading
from collections import deque
from types import TracebackType
from typing import Self

from cr.page_server import protocol
from cr.page_server.protocol import Header, PageServerError
from cr.page_server.wire import Wire
from images.directory import ImageDirectory
from images.kinds import PageFlag
from images.pages import PAGE_SIZE, run_entry


class RemotePages:
    """A page store at the other end of a wire; objects are sent one after the other.

    Which pages of tasks were sent is noted in `notes`, for a dump that builds on this one.
    """

    def __init__(self, wire: Wire, notes: ImageDirectory | None = None) -> None:
        self.wire, self._notes = wire, notes
        self.broken = False
        self._turn = threading.Condition()
        self._taken = False

    def writer(self, kind: str, number: int) -> RemoteWriter:
        return RemoteWriter(self, kind, number)

    def note(self, kind: str, number: int, sent: list[Header]) -> None:
        """These runs are there now."""

        if self._notes is not None and kind == "pagemap":
            runs = [run_entry(h.vaddr, h.nr_pages, h.flags) for h in sent]
            self._notes.write("woodfrog-sent", number, entries=runs)

    def take_turn(self) -> None:
        """Have the wire for oneself; PageServerError once somebody else has failed."""
        with self._turn:
            while self._taken and not self.broken:
                self._turn.wait()
            if self.broken:
                raise self.wire.gone()
            self._taken = True

    def end_turn(self) -> None:
        with self._turn:
            self._taken = False
            self._turn.notify()

    def fail(self) -> None:
        with self._turn:
            self.broken = True
            self._turn.notify_all()

    def parent_has(self, kind: str, number: int) -> bool:
        """Whether the parent snapshot at the page server has pages of that object."""
        self.take_turn()
        self.wire.send_header(Header(protocol.ASK_PARENT, object=protocol.object_number(kind, number)))
        has = self.wire.status() > 0
        self.end_turn()
        return has

    def finish(self) -> None:
        self.take_turn()
        self.wire.send_header(Header(protocol.CLOSE))
        status = self.wire.status()
        self.end_turn()
        if status:
            raise PageServerError(f"{self.wire.peer} could not store the pages (status {status})")

    def close(self) -> None:
        self.wire.close()


class RemoteWriter:
    """One object.  From its first byte to its end it has the wire for itself."""

    pages_id: int | None = None

    def __init__(self, store: RemotePages, kind: str, number: int) -> None:
        self._store, self._wire, self._target = store, store.wire, (kind, number)
        self._object = protocol.object_number(kind, number)
        self._sent: list[Header] = []
        self._runs: deque[tuple[Header, int]] = deque()
        """headers with the bytes of their pages that are still to be sent"""
        self._stored = self._position = 0
        self._opened = False
        self._moved = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._open()
                self._send_bare()
                if self._runs:
                    raise RuntimeError(f"not all pages of object {self._object:#x} were stored")
                self._store.note(*self._target, self._sent)
        finally:
            if self._opened:
                self._opened = False
                self._store.end_turn()

    @property
    def file(self) -> int | None:
        """The bytes go over the wire."""
        return None

    def present(self, vaddr: int, nr_pages: int, *, lazy: bool = False) -> None:
        self._add(vaddr, nr_pages, PageFlag.PRESENT | (PageFlag.LAZY if lazy else PageFlag(0)))

    def in_parent(self, vaddr: int, nr_pages: int) -> None:
        self._add(vaddr, nr_pages, PageFlag.PARENT)

    def lazy(self, vaddr: int, nr_pages: int) -> None:
        self._add(vaddr, nr_pages, PageFlag.LAZY)

    def _add(self, vaddr: int, nr_pages: int, flags: PageFlag) -> None:
        if nr_pages > 0:
            header = Header(protocol.ADD_FLAGGED, flags, nr_pages, vaddr, self._object)
            self._sent.append(header)
            self._runs.append((header, header.size if flags & PageFlag.PRESENT else 0))

    def append(self, vaddr: int, data: bytes | memoryview, *, lazy: bool = False) -> None:
        self.present(vaddr, len(data) // PAGE_SIZE, lazy=lazy)
        self.store(data)

    def store(self, data: bytes | memoryview) -> None:
        self.store_at(memoryview(data), self._stored)
        self._stored += len(data)

    def store_file(self, fd: int, offset: int, size: int) -> None:
        while size:
            data = os.pread(fd, min(size, 1 << 20), offset)
            if not data:
                raise PageServerError("a shared memory object ended while it was sent")
            self.store(data)
            offset, size = offset + len(data), size - len(data)

    def store_at(self, data: memoryview, offset: int) -> None:
        """Waits until what comes before has been sent."""
        with self._moved:
            while self._position != offset and not self._store.broken:
                self._moved.wait()
            try:
                if self._store.broken:
                    raise self._wire.gone()
                self._open()
                self._send(data)
            except BaseException:
                self._store.fail()
                raise
            finally:
                self._position = offset + len(data)
                self._moved.notify_all()

    def abandon(self) -> None:
        with self._moved:
            self._store.fail()
            self._moved.notify_all()

    def _open(self) -> None:
        if self._opened:
            return
        self._store.take_turn()
        self._opened = True
        self._wire.send_header(Header(protocol.OPEN_ASKING, object=self._object))
        if self._wire.receive(1) is None:
            raise self._wire.gone()

    def _send(self, data: memoryview) -> None:
        """Bytes in pieces, each run's header in front of its first one."""
        while data:
            self._send_bare()
            header, left = self._runs[0]
            piece = data[:left]
            if left == header.size:
                self._wire.send(header.pack(), piece)
            else:
                self._wire.send(piece)
            data, left = data[len(piece) :], left - len(piece)
            if left:
                self._runs[0] = header, left
            else:
                self._runs.popleft()

    def _send_bare(self) -> None:
        """The headers of runs without bytes."""
        while self._runs and not self._runs[0][1]:
            self._wire.send_header(self._runs.popleft()[0])
