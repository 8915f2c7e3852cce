"""Letting a created container's init go on to its program."""

from __future__ import annotations

import errno
import os

from runtime.container import FIFO
from runtime.delete import kill_init
from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.container import Container
    from runtime.context import Context


def start(container: Container, context: Context) -> None:
    """Write to the FIFO, then remove it: with it the status "created" ends.  The caller holds the lock.

    Raises ContainerError if the container is not in the state "created".
    """
    status = container.status()
    if status == "stopped":
        raise ContainerError("cannot start a container that has stopped")
    if status == "running":
        raise ContainerError("cannot start an already running container")
    if status != "created":
        raise ContainerError(f"cannot start a container in the {status} state")
    release(container, context)
    run_poststart(container)


def release(container: Container, context: Context) -> None:
    """Let init go on: by the FIFO, or from its frozen cgroup if it comes from a checkpoint."""
    if container.record.get("waits"):
        from runtime.frozen.annotated import let_go

        let_go(container, context)
    else:
        _write_fifo(container)


def _write_fifo(container: Container) -> None:
    """The write itself.  Nobody reads: init went on (a start was killed half way), or it has ended."""
    path = container.store.path(FIFO)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        if err.errno != errno.ENXIO:
            raise
        if not container.running():
            raise ContainerError("the container's first process has ended before its start") from err
        os.unlink(path)
        raise ContainerError("cannot start an already running container") from err
    os.write(fd, b"0")
    os.close(fd)
    os.unlink(path)


def run_poststart(container: Container) -> None:
    """The poststart hooks; if one fails the container is killed, since its start has failed."""
    try:
        container.run_hooks("poststart", "running")
    except ContainerError:
        kill_init(container)
        raise
