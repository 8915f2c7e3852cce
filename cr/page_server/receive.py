"""What a page server does for a dump: it writes the pages that come in into images."""

from __future__ import annotations

import mmap

from cr.page_server import protocol
from cr.page_server.protocol import Header, PageServerError
from cr.page_server.wire import Wire
from images.directory import ImageDirectory
from images.errors import ImageError
from images.kinds import PageFlag
from images.pages import PagesWriter

FIRST_PAGES_ID = 0x10001
"""so that the pages images of the server and those of the dump never have the same name"""
_CHUNK = 1 << 20


class Receiver:
    """One dump's pages.  `pages` counts those received."""

    def __init__(self, wire: Wire, images: ImageDirectory) -> None:
        self.wire, self.images = wire, images
        self.pages = 0
        self._pages_id = FIRST_PAGES_ID
        self._writer: PagesWriter | None = None
        self._object = -1
        self._buffer = mmap.mmap(-1, _CHUNK)
        self._answers = {
            protocol.OPEN: self._open,
            protocol.OPEN_ASKING: self._open_asking,
            protocol.ASK_PARENT: self._ask_parent,
            protocol.ADD: self._add,
            protocol.ADD_FLAGGED: self._add,
            protocol.HOLE: self._add,
        }

    def answer(self, header: Header) -> None:
        """Do what a header asks; PageServerError or ImageError where that makes no sense."""
        action = self._answers.get(header.command)
        if action is None:
            raise PageServerError(f"{self.wire.peer} sent the unknown command {header.command:#x}")
        action(header)

    def finish(self) -> None:
        """All came: the last images are complete."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(None, None, None)

    def give_up(self, error: BaseException) -> None:
        """Remove what came."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(type(error), error, None)
        self.images.discard()

    def _open(self, header: Header) -> None:
        self.finish()
        kind, number = protocol.object_of(header.object)
        self._writer = PagesWriter(self.images, kind, number, self._pages_id)
        self._object = header.object
        self._pages_id += 1

    def _open_asking(self, header: Header) -> None:
        self._open(header)
        self.wire.send(bytes([self._parent_has(header)]))

    def _ask_parent(self, header: Header) -> None:
        self.wire.send_status(self._parent_has(header))

    def _parent_has(self, header: Header) -> bool:
        parent = self.images.parent()
        if parent is None:
            return False
        with parent:
            kind, number = protocol.object_of(header.object)
            return parent.exists(kind, number)

    def _add(self, header: Header) -> None:
        if self._writer is None or header.object != self._object:
            raise PageServerError(f"{self.wire.peer} sent pages of an object that it has not opened")
        flags = protocol.added(header)
        try:
            if flags & PageFlag.PRESENT:
                self._writer.present(header.vaddr, header.nr_pages, lazy=bool(flags & PageFlag.LAZY))
            elif flags & PageFlag.PARENT:
                self._writer.in_parent(header.vaddr, header.nr_pages)
            else:
                self._writer.lazy(header.vaddr, header.nr_pages)
        except ValueError as error:
            raise PageServerError(f"{self.wire.peer} sent pages out of order: {error}") from error
        if flags & PageFlag.PRESENT:
            self._take(self._writer, header.size)
            self.pages += header.nr_pages

    def _take(self, writer: PagesWriter, size: int) -> None:
        with memoryview(self._buffer) as view:
            while size:
                part = view[: min(size, _CHUNK)]
                self.wire.receive_into(part)
                writer.store(part)
                size -= len(part)
                part.release()


def receive(wire: Wire, images: ImageDirectory) -> int:
    """Serve one dump to its end; the number of pages.  Where the dump ends early, nothing of it stays."""
    receiver = Receiver(wire, images)
    try:
        while (header := wire.header()) is not None:
            if header.command == protocol.CLOSE:
                receiver.finish()
                wire.send_status(0)
                return receiver.pages
            if header.command == protocol.CLOSE_INCOMPLETE:
                break
            receiver.answer(header)
        raise PageServerError(f"{wire.peer} went away in the middle of a dump; its pages are removed")
    except (PageServerError, ImageError, OSError) as error:
        receiver.give_up(error)
        raise
