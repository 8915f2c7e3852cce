"""What a page server does for a lazy restore: it sends the pages that are asked for, in any order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from cr.page_server import protocol
from cr.page_server.protocol import Header, PageServerError
from cr.page_server.wire import Wire
from images.directory import ImageDirectory
from images.errors import ImageError
from images.kinds import PageFlag
from images.pages import PAGE_SIZE, PagemapReader, PageSource


class Lender(Protocol):
    """Who has the pages."""

    def count(self, pid: int, vaddr: int, nr_pages: int) -> int:
        """How many of these pages there are from the first one on; 0 where there is none."""

    def send(self, wire: Wire, pid: int, vaddr: int, nr_pages: int) -> None:
        """Send their bytes."""


def lend(wire: Wire, lender: Lender) -> None:
    """Answer requests until the other side closes the conversation; PageServerError where it breaks off."""
    while (header := wire.header()) is not None:
        if header.command in (protocol.CLOSE, protocol.CLOSE_INCOMPLETE):
            wire.send_status(0)
            if header.command == protocol.CLOSE:
                return
            break
        if header.command != protocol.GET:
            raise PageServerError(f"{wire.peer} sent the command {header.command:#x} where it may only ask for pages")
        _answer(wire, lender, header)
    raise PageServerError(f"{wire.peer} went away before it had all pages")


def _answer(wire: Wire, lender: Lender, header: Header) -> None:
    count = lender.count(header.object, header.vaddr, header.nr_pages)
    reply = Header(protocol.ADD_FLAGGED, PageFlag.PRESENT if count else 0, count, header.vaddr, header.object)
    wire.send_header(reply)
    if count:
        lender.send(wire, header.object, header.vaddr, count)


class ImagePages:
    """The pages of the tasks' memory in a directory of images.  Use as a context manager."""

    def __init__(self, images: ImageDirectory) -> None:
        self.images = images
        self._readers: dict[int, PagemapReader] = {}
        self._files: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        for fd in self._files.values():
            os.close(fd)
        self._readers, self._files = {}, {}

    def find(self, pid: int, vaddr: int, nr_pages: int) -> Iterator[PageSource]:
        """Where these pages are, up to the first one that is nowhere."""
        if pid not in self._readers:
            self._readers[pid] = PagemapReader(self.images, "pagemap", pid)
        try:
            for source in self._readers[pid].find(vaddr, nr_pages):
                if source.offset is None:
                    return
                yield source
        except ImageError:
            return  # what is not there is zero; whoever asks knows its pagemap

    def count(self, pid: int, vaddr: int, nr_pages: int) -> int:
        return sum(source.nr_pages for source in self.find(pid, vaddr, nr_pages))

    def send(self, wire: Wire, pid: int, vaddr: int, nr_pages: int) -> None:
        for source in self.find(pid, vaddr, nr_pages):
            assert source.offset is not None
            wire.send_file(self.file(source), source.offset, source.nr_pages * PAGE_SIZE)

    def file(self, source: PageSource) -> int:
        """Our descriptor of the pages image."""
        key = (str(source.directory.path), source.pages_id)
        if key not in self._files:
            self._files[key] = source.directory.open_raw("pages", source.pages_id)
        return self._files[key]
