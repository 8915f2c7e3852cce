"""The page server: takes the pages of a dump from another machine, or lends those of images to a lazy restore."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cr.options import Options
    from cr.page_server.process import Ready, Started


def serve(options: Options, ready: Ready | None = None) -> None:
    """Serve one client in the calling process, and return when it is done; `ready` is told the port."""
    from cr.page_server import server

    server.serve(options, ready)


def start(options: Options, *, detached: bool = False) -> Started:
    """Serve one client in a child: (pid, port) once it listens; a `detached` one has a session of its own."""
    from cr.page_server import server

    return server.start(options, detached=detached)
