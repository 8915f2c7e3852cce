"""The first three descriptors of a container across a checkpoint: descriptors.json in the image directory.

It lists where 0, 1 and 2 led, as paths or "pipe:[inode]".  On restore a pipe is replaced by the descriptor of
the same number that the restoring command has, and so is a file of the host (cr.stdio).

The state keeps both lists from the time when the container was made: its program may redirect its own
descriptors later, and then the first ones live on elsewhere (a shell parks them above 9).
"""

from __future__ import annotations

import os

from cr import stdio as outside
from cr.stdio import inherit
from runtime.errors import ContainerError

__all__ = ["NAME", "after_restore", "inherit", "look", "read", "write"]

NAME = "descriptors.json"


def look(pid: int) -> dict[str, list[str]] | None:
    """What 0 to 2 of a process are: `paths` and `files`, see above; None where we may not look."""
    try:
        return {"paths": _paths(pid), "files": outside.host_files(pid)}
    except PermissionError:
        return None  # without privileges the process is out of our sight before its exec


def _paths(pid: int | str) -> list[str]:
    """Where descriptors 0 to 2 lead; /dev/null for one that is closed."""
    found = []
    for fd in range(3):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            found.append("/dev/null")
    return found


def after_restore(directory: str) -> dict[str, list[str]]:
    """The record of a container that is restored from `directory`: our own descriptors took the outer ones' place."""
    paths = _read(os.path.join(directory, NAME))
    inherited = read(directory)
    ours, files = _paths("self"), [outside.host_file("self", fd, set()) or "" for fd in range(3)]
    taken = [bool(name) for name in inherited]
    return {
        "paths": [mine if took else old for took, mine, old in zip(taken, ours, paths, strict=False)],
        "files": [mine if took else "" for took, mine in zip(taken, files, strict=False)],
    }


def write(directory: str, record: dict[str, list[str]]) -> list[str]:
    """Write both lists; the externals that a dump needs for them."""
    outside.write_list(os.path.join(directory, NAME), record["paths"])
    return outside.write(directory, record["files"])


def read(directory: str) -> list[str]:
    """What 0 to 2 were, by the names that the images use; "" for what is in the container.

    A checkpoint without the files (not made by a container runtime) has nothing to inherit.
    """
    pipes = [n if n.startswith("pipe:") else "" for n in _read(os.path.join(directory, NAME))]
    own = _read(os.path.join(directory, outside.NAME)) or [""] * len(pipes)
    return [pipe or file for pipe, file in zip(pipes, own, strict=False)]


def _read(path: str) -> list[str]:
    from cr.model import CheckpointError

    try:
        return outside.read_list(path)
    except CheckpointError as err:
        raise ContainerError(str(err)) from err
