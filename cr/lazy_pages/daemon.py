"""The lazy-pages daemon: brings pages to restored tasks, first those that are asked for, then all others."""

from __future__ import annotations

import mmap
import os
import select
import socket

from cr import log
from cr.lazy_pages import channel
from cr.lazy_pages.guard import Guard
from cr.lazy_pages.remaining import Piece, Remaining
from cr.lazy_pages.source import LocalSource, RemoteSource, Source
from cr.lazy_pages.space import BATCH, Space
from cr.lazy_pages.which import lazy_mappings, lazy_spans
from cr.options import Options
from cr.page_server.connect import connect
from cr.page_server.process import Ready, run_server
from images.directory import ImageDirectory
from images.pages import PagemapReader


def run(options: Options) -> int:
    """The command: 0 once all pages are there.  With --daemon, 0 once restores are waited for."""
    return run_server(options, serve)


def serve(options: Options, ready: Ready | None = None) -> None:
    """Bring the pages of one restore, from --images-dir or, with --page-server, from there; CheckpointError where
    that fails: tasks that miss a page get SIGBUS then, since they could only go on with wrong memory."""
    with ImageDirectory.open(options.images_dir) as images:
        with channel.listen(options) as listening:
            try:
                if ready is not None:
                    ready(0)
                restore, _ = listening.accept()
            finally:
                os.unlink(channel.place(options))
        with restore:
            Daemon(images, options, restore).work()
    if options.auto_dedup and not options.page_server:
        from cr.dedup import free_restored

        free_restored(options.images_dir)


class Daemon:
    """One restore."""

    def __init__(self, images: ImageDirectory, options: Options, restore: socket.socket) -> None:
        self.images, self.options, self.restore = images, options, restore
        self.spaces: dict[int, Space] = {}
        self.finished = False
        """whether the tasks run"""
        self._guard = Guard()
        self._buffer = mmap.mmap(-1, BATCH, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
        self._poll = select.poll()

    def work(self) -> None:
        self._poll.register(self.restore, select.POLLIN)
        source = self._source()
        try:
            while self.spaces or not self.finished:
                self._turn(source)
            source.close(complete=True)
        except BaseException:
            for space in self.spaces.values():
                space.give_up()
            raise
        finally:
            for space in self.spaces.values():
                space.close()
            self._guard.end()
        log.info("all pages are there")

    def _source(self) -> Source:
        if self.options.page_server or self.options.ps_socket >= 0:
            return RemoteSource(connect(self.options))
        return LocalSource(self.images)

    def _turn(self, source: Source) -> None:
        busy = self.finished and any(space.remaining for space in self.spaces.values())
        events = self._poll.poll(0 if busy else None)
        for fd, _ in events:
            if fd == self.restore.fileno():
                self._hear()
            else:
                self._look(self.spaces[fd], source)
        if not events and busy:
            space = next(space for space in self.spaces.values() if space.remaining)
            space.bring_some(source, self._buffer)
            self._follow_up(space)
        if self.finished:
            self._let_go()

    def _hear(self) -> None:
        received = channel.receive(self.restore)
        if received is None:
            self.finished = True
            self._poll.unregister(self.restore)
            return
        pid, fd = received
        self._add(Space(pid, fd, self._remaining(pid)))
        log.debug(f"task {pid}: {self.spaces[fd].remaining.nr_pages} pages come later")

    def _remaining(self, pid: int) -> Remaining:
        with PagemapReader(self.images, "pagemap", pid) as reader:
            mappings = lazy_mappings(self.images.read_one("mm", pid), reader)
            return Remaining(Piece(start, end, start) for start, end in lazy_spans(mappings, reader))

    def _add(self, space: Space) -> None:
        self.spaces[space.fd] = space
        self._guard.hold(space)
        self._poll.register(space.fd, select.POLLIN)

    def _look(self, space: Space, source: Source) -> None:
        space.look(source, self._buffer)
        self._follow_up(space)

    def _follow_up(self, space: Space) -> None:
        """Children of a fork(2) seen on the way; a space that has ended."""
        while space.children:
            self._add(space.children.pop())
        if space.gone:
            self._drop(space)

    def _drop(self, space: Space) -> None:
        self._poll.unregister(space.fd)
        del self.spaces[space.fd]
        self._guard.forget(space)
        space.close()

    def _let_go(self) -> None:
        """Spaces that have all their pages need us no more."""
        for space in [space for space in self.spaces.values() if not space.remaining]:
            self._drop(space)
