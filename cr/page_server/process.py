"""Servers as processes: in the foreground, or in a child that goes on by itself."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import NamedTuple

from cr import log
from cr.model import CheckpointError
from cr.options import Options
from cr.work import forget_status, tell_status, write_pidfile

Ready = Callable[[int], None]
"""called with the port once connections are accepted"""


class Started(NamedTuple):
    """A page server in a process of its own."""

    pid: int
    port: int


Serve = Callable[[Options, Ready], None]


def run_server(options: Options, serve: Serve) -> int:
    """A command: the exit status is 0 once the work is done; with --daemon, once connections are accepted."""
    if options.daemon:
        started = start_server(options, serve, detached=True)
        write_pidfile(options, started.pid)
        tell_status(options)
        return 0
    write_pidfile(options, os.getpid())
    serve(options, lambda port: tell_status(options))
    return 0


def start_server(options: Options, serve: Serve, *, detached: bool = False) -> Started:
    """A server in a child of ours that listens already; a `detached` one has a session of its own."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _child(options, serve, theirs, detached=detached)
    theirs.close()
    with ours:
        answer = ours.recv(4096).decode()
    if answer.isdigit():
        return Started(child, int(answer))
    os.waitpid(child, 0)
    raise CheckpointError(answer or "the server ended before it listened")


def _child(options: Options, serve: Serve, channel: socket.socket, *, detached: bool) -> None:
    """Never returns."""
    status = 1
    try:
        if detached:
            _detach()
            forget_status(options)
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
