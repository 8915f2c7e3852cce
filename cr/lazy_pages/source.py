"""Where the lazy-pages daemon gets pages from: images, or a page server."""

from __future__ import annotations

import os
from typing import Protocol

from cr.model import CheckpointError
from cr.page_server import protocol
from cr.page_server.lend import ImagePages
from cr.page_server.protocol import Header, PageServerError
from cr.page_server.wire import Wire
from images.directory import ImageDirectory
from images.pages import PAGE_SIZE


class Source(Protocol):
    """Who has the pages."""

    def fetch(self, pid: int, vaddr: int, nr_pages: int, view: memoryview) -> None:
        """Put the bytes of these pages of task `pid`, as they were dumped, into `view`."""

    def close(self, *, complete: bool) -> None:
        """No more are needed; `complete`: because all are there."""


class LocalSource:
    """The images themselves."""

    def __init__(self, images: ImageDirectory) -> None:
        self._pages = ImagePages(images)

    def fetch(self, pid: int, vaddr: int, nr_pages: int, view: memoryview) -> None:
        position = 0
        for source in self._pages.find(pid, vaddr, nr_pages):
            assert source.offset is not None
            size, done = source.nr_pages * PAGE_SIZE, 0
            while done < size:
                count = os.preadv(
                    self._pages.file(source), [view[position + done : position + size]], source.offset + done
                )
                if not count:
                    raise CheckpointError(f"the pages image {source.pages_id} ends early, at {source.offset + done}")
                done += count
            position += size
        if position != nr_pages * PAGE_SIZE:
            raise CheckpointError(
                f"no page {vaddr + position:#x} of task {pid} in the images: is it at a page server (--page-server)?"
            )

    def close(self, *, complete: bool) -> None:
        self._pages.close()


class RemoteSource:
    """A page server that lends pages, or a dump that waits with them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def fetch(self, pid: int, vaddr: int, nr_pages: int, view: memoryview) -> None:
        position = 0
        while position < nr_pages:
            place = vaddr + position * PAGE_SIZE
            self._wire.send_header(Header(protocol.GET, 0, nr_pages - position, place, pid))
            answer = self._wire.header()
            if answer is None:
                raise self._wire.gone()
            if (answer.vaddr, answer.object) != (place, pid) or not 0 < answer.nr_pages <= nr_pages - position:
                raise PageServerError(f"{self._wire.peer} does not have the page {place:#x} of task {pid}")
            self._wire.receive_into(view[position * PAGE_SIZE : (position + answer.nr_pages) * PAGE_SIZE])
            position += answer.nr_pages

    def close(self, *, complete: bool) -> None:
        try:
            self._wire.send_header(Header(protocol.CLOSE if complete else protocol.CLOSE_INCOMPLETE))
            if complete:
                self._wire.status()
        finally:
            self._wire.close()
