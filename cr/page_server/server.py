"""The command `page-server`: one conversation with a dump, or with a lazy-pages daemon."""

from __future__ import annotations

from cr import log
from cr.options import Options
from cr.page_server import connect
from cr.page_server.process import Ready, Started, run_server, start_server
from cr.page_server.wire import Wire
from images.directory import ImageDirectory


def run(options: Options) -> int:
    """The exit status: 0 once all pages are there.  With --daemon, 0 once connections are accepted."""
    return run_server(options, serve)


def start(options: Options, *, detached: bool = False) -> Started:
    """A page server in a child of ours that listens already; a `detached` one has a session of its own."""
    return start_server(options, serve, detached=detached)


def serve(options: Options, ready: Ready | None = None) -> None:
    """Listen at --address and --port (or use --ps-socket), serve one client to its end; CheckpointError where it fails.

    Pages are written into --images-dir; with --lazy-pages they are read from the images there, on request.
    """
    with ImageDirectory.open(options.images_dir) as images:
        if options.prev_images_dir and not options.lazy_pages:
            images.relative(options.prev_images_dir).close()
            images.link_parent(options.prev_images_dir)
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
    if options.auto_dedup and options.prev_images_dir:
        from cr.dedup import dedup

        dedup(images)
    log.info(f"received {pages_received} pages from {wire.peer}")
