"""Annotations by which an engine above us, which knows only create, start and kill, thaws and freezes a container.

    io.github.woodfrog.restore             the checkpoint that create thaws in place of starting the program
    io.github.woodfrog.checkpoint          where kill freezes the container in place of sending the signal that stops it
    io.github.woodfrog.checkpoint-signal   that signal, by default TERM
    io.github.woodfrog.options             flags of checkpoint and restore, as "tcp-established file-locks"

Who may set annotations must not reach every directory of the host: places are counted from, and must be below, the
one that the administrator has made for this (`woodfrog --checkpoints`).  With the same place for both, a container
goes on where it was stopped; the first start, and one after the program ended by itself, is an ordinary one.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "io.github.woodfrog."
RESTORE = PREFIX + "restore"
CHECKPOINT = PREFIX + "checkpoint"
SIGNAL = PREFIX + "checkpoint-signal"
OPTIONS = PREFIX + "options"
RESTORED = PREFIX + "restored"
"""In the state that hooks get: the checkpoint that the container was made from."""

FLAGS = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks")
COMMIT = "inventory.img"
"""The file that makes a directory of images a checkpoint: it is written last."""


def default_place() -> str:
    """Where checkpoints are that annotations may name, unless the command line says otherwise."""
    if os.geteuid() == 0:
        return "/var/lib/woodfrog"
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.environ.get("HOME", "/"), ".local", "share")
    return os.path.join(data, "woodfrog")


def place_of(annotations: Mapping[str, str], name: str, below: str) -> str:
    """The directory that an annotation names, "" without it.  Raises ContainerError for one that leads elsewhere."""
    text = annotations.get(name, "")
    if not text:
        return ""
    if not os.path.isdir(below):
        raise ContainerError(
            f"annotation {name} is refused: there is no directory {below}; make it, or name another with --checkpoints"
        )
    root = os.path.realpath(below)
    found = os.path.realpath(os.path.join(root, text))
    if os.path.commonpath([root, found]) != root or found == root:
        raise ContainerError(f"annotation {name}: {text} is not below {below}, where checkpoints are (--checkpoints)")
    return found


def images_in(place: str) -> str:
    """The directory of a complete checkpoint: `place`, or "checkpoint" in it, as exports have it; "" without one."""
    for directory in (place, os.path.join(place, "checkpoint")):
        if os.path.isfile(os.path.join(directory, COMMIT)):
            return directory
    return ""


def to_thaw(annotations: Mapping[str, str], below: str) -> str:
    """The images that create thaws, "" if it is an ordinary create.  Raises ContainerError without a checkpoint."""
    place = place_of(annotations, RESTORE, below)
    images = images_in(place) if place else ""
    if place and not images and not goes_on(annotations, below):
        raise ContainerError(f"there is no complete checkpoint in {place}, which annotation {RESTORE} names")
    return images


def goes_on(annotations: Mapping[str, str], below: str) -> bool:
    """Whether the container is thawed from where it is frozen: a checkpoint is then used once."""
    place = place_of(annotations, RESTORE, below)
    return bool(place) and place == place_of(annotations, CHECKPOINT, below)


def stop_signal(annotations: Mapping[str, str]) -> int:
    """The signal in place of which the container is frozen.  Raises ContainerError for an unknown one."""
    from runtime.signals import number_of

    return number_of(annotations.get(SIGNAL, "TERM"))


def options(annotations: Mapping[str, str]) -> dict[str, bool]:
    """The flags that are asked for, as values of checkpoint and restore.  Raises ContainerError."""
    names = annotations.get(OPTIONS, "").split()
    unknown = [name for name in names if name not in FLAGS]
    if unknown:
        raise ContainerError(f"annotation {OPTIONS}: {unknown[0]!r} is not one of {', '.join(FLAGS)}")
    return {name.replace("-", "_"): True for name in names}
