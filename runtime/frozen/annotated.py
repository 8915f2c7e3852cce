"""Containers that are thawed by create and frozen by kill, since their annotations say so (runtime.checkpoints)."""

from __future__ import annotations

import os
import shutil

from runtime import checkpoints
from runtime.errors import ContainerError
from runtime.options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci.types import Config
    from runtime.container import Container
    from runtime.context import Context
    from runtime.create import Created, Request


def create_thawed(context: Context, name: str, request: Request, bundle: str, config: Config, images: str) -> Created:
    """Restore the container, frozen by its cgroup before a task of it runs: `start` lets it go on.

    To engines it is a created container like any other.
    """
    from runtime.create import Created
    from runtime.engine import choose
    from runtime.frozen.options import RESTORE, shared_options
    from runtime.frozen.thaw import Thaw
    from runtime.init.channel import Channel

    thaw = Thaw.of(context, name, bundle, config)
    thaw.container.record["thawed_from"] = images
    thaw.console, thaw.pid_file, thaw.waits = request.console, request.pid_file, True
    options = shared_options(_values(RESTORE, config))
    options["work_dir"] = thaw.container.store.directory  # the log; the images may be of somebody else
    pid = thaw.run(choose(context.criu), images, options)
    if request.pidfd_socket:
        from runtime.sockets import send_pidfd

        send_pidfd(request.pidfd_socket, pid)
    return Created(thaw.container, pid, Channel.ended())


def freeze_instead(context: Context, container: Container, number: int) -> bool:
    """Whether the container was frozen in place of getting the signal.

    One that cannot be frozen gets it all the same, with a warning: whoever stops a container wants it to stop.
    """
    notes = container.annotations()
    try:
        if checkpoints.CHECKPOINT not in notes or number != checkpoints.stop_signal(notes):
            return False
        place = checkpoints.place_of(notes, checkpoints.CHECKPOINT, context.checkpoints)
        container.store.lock()
        if container.status() not in ("running", "paused"):
            return False
        _freeze_into(place, container, context)
    except (ContainerError, OSError) as err:
        context.reporter.warn(f"container {container.id} is stopped without a checkpoint: {err}")
        return False
    finally:
        container.store.forget_lock()
    return True


def _freeze_into(place: str, container: Container, context: Context) -> None:
    """Freeze it.  The engine ends the tasks when its images are complete, so these must be in their place by then.

    An older checkpoint waits beside it, and comes back if the container runs on.
    """
    from runtime.engine import choose
    from runtime.frozen.freeze import freeze
    from runtime.frozen.options import CHECKPOINT, dump_options

    older = f"{place}.old"
    shutil.rmtree(place if not checkpoints.images_in(place) else older, ignore_errors=True)
    if os.path.isdir(place):
        os.rename(place, older)
    os.makedirs(place, 0o700)
    try:
        freeze(container, choose(context.criu), place, dump_options(_values(CHECKPOINT, container.config)))
    except BaseException:
        if container.running():
            shutil.rmtree(place)
            if os.path.isdir(older):
                os.rename(older, place)
        raise
    shutil.rmtree(older, ignore_errors=True)


def take_place(fresh: str, place: str) -> None:
    """A complete directory of images gets its name; what had the name is removed."""
    drop(place)
    os.rename(fresh, place)


def drop(place: str) -> None:
    """Remove a checkpoint: no longer one at once, then its files."""
    if os.path.isdir(place):
        old = f"{place}.old.{os.getpid()}"
        os.rename(place, old)
        shutil.rmtree(old)


def let_go(container: Container, context: Context) -> None:
    """Start a container that waits in its frozen cgroup.  The caller holds the lock.

    The record comes last: until then a start that was killed can be repeated.
    """
    notes = container.annotations()
    once = checkpoints.goes_on(notes, context.checkpoints)
    container.manager().thaw()
    if once:
        drop(checkpoints.place_of(notes, checkpoints.RESTORE, context.checkpoints))
    container.record["waits"] = False
    container.save()


def _values(table: Any, config: Config) -> dict[str, Any]:
    """The values of an empty command line, and the flags that the annotations ask for."""
    return {**parse([], table, False)[0], **checkpoints.options(config.get("annotations") or {})}
