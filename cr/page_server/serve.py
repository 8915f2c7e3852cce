"""The command `page-server`: one conversation with a dump, or with a lazy-pages daemon."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import NamedTuple

from cr import log
from cr.model import CheckpointError
from cr.options import Options
from cr.page_server import connect
from cr.page_server.wire import Wire
from cr.work import tell_status, write_pidfile
from images.directory import ImageDirectory

Ready = Callable[[int], None]
"""called with the port once connections are accepted"""


class Started(NamedTuple):
    """A page server in a process of its own."""

    pid: int
    port: int


def run(options: Options) -> int:
    """The exit status: 0 once all pages are there.  With --daemon, 0 once connections are accepted."""
    if options.daemon:
        started = start(options, detached=True)
        write_pidfile(options, started.pid)
        return 0
    write_pidfile(options, os.getpid())
    serve(options, lambda port: tell_status(options))
    return 0


def serve(options: Options, ready: Ready | None = None) -> None:
    """Listen at --address and --port (or use --ps-socket), serve one client to its end; CheckpointError where it fails.

    Pages are written into --images-dir; with --lazy-pages they are read from the images there, on request.
    """
    with ImageDirectory.open(options.images_dir) as images:
        wire = _client(options, ready or (lambda port: None))
        try:
            _converse(wire, images, options)
        finally:
            wire.close()


def _client(options: Options, ready: Ready) -> Wire:
    if options.ps_socket >= 0:
        ready(0)
        return connect.inherited(options, server=True)
    with connect.listen(options) as listening:
        port = listening.getsockname()[1]
        log.info(f"the page server listens at port {port}")
        ready(port)
        return connect.accept(listening, options)


def _converse(wire: Wire, images: ImageDirectory, options: Options) -> None:
    if options.lazy_pages:
        from cr.page_server.lend import ImagePages, lend

        with ImagePages(images) as pages:
            lend(wire, pages)
        return
    from cr.page_server.receive import receive

    pages_received = receive(wire, images)
    log.info(f"received {pages_received} pages from {wire.peer}")


def start(options: Options, *, detached: bool = False) -> Started:
    """A page server in a child of ours that listens already; a `detached` one has a session of its own."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _child(options, theirs, detached=detached)
    theirs.close()
    with ours:
        answer = ours.recv(4096).decode()
    if answer.isdigit():
        return Started(child, int(answer))
    os.waitpid(child, 0)
    raise CheckpointError(answer or "the page server ended before it listened")


def _child(options: Options, channel: socket.socket, *, detached: bool) -> None:
    """Never returns."""
    status = 1
    try:
        if detached:
            _detach()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        serve(options, lambda port: _tell(channel, str(port)))
        status = 0
    except Exception as error:
        log.error(str(error))
        _tell(channel, str(error))
    finally:
        os._exit(status)


def _detach() -> None:
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def _tell(channel: socket.socket, text: str) -> None:
    """The first word counts; later there is nobody to hear."""
    try:
        channel.sendall(text.encode())
        channel.close()
    except OSError:
        return
