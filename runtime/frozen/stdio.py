"""The first three descriptors of a container across a checkpoint: descriptors.json in the image directory.

It lists where 0, 1 and 2 led, as paths or "pipe:[inode]".  On restore a pipe is replaced by the descriptor of
the same number that the restoring command has.  A file of the host, which no mount of the container shows, is
named "file[mnt_id:inode]" (both hexadecimal, as criu(8) has it) in a list of our own beside it.

The state keeps both lists from the time when the container was made: its program may redirect its own
descriptors later, and then the first ones live on elsewhere (a shell parks them above 9).
"""

from __future__ import annotations

import json
import os
import stat

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "descriptors.json"
OWN_NAME = "woodfrog-stdio.json"


def look(pid: int) -> dict[str, list[str]] | None:
    """What 0 to 2 of a process are: `paths` and `files`, see above; None where we may not look."""
    try:
        return {"paths": _paths(pid), "files": _host_files(pid)}
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


def _host_files(pid: int) -> list[str]:
    """For each of 0 to 2: "file[mnt_id:inode]" if it is a regular file of the host, else ""."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        mounts = {int(line.split(" ", 1)[0]) for line in stream}
    return [_host_file(pid, fd, mounts) for fd in range(3)]


def after_restore(directory: str) -> dict[str, list[str]]:
    """The record of a container that is restored from `directory`: our own descriptors took the outer ones' place."""
    paths = _read(os.path.join(directory, NAME))
    inherited = read(directory)
    ours, files = _paths("self"), [_host_file("self", fd, set()) for fd in range(3)]
    taken = [bool(name) for name in inherited]
    return {
        "paths": [mine if took else old for took, mine, old in zip(taken, ours, paths, strict=False)],
        "files": [mine if took else "" for took, mine in zip(taken, files, strict=False)],
    }


def _host_file(pid: int | str, fd: int, mounts: set[int]) -> str:
    try:
        info = os.stat(f"/proc/{pid}/fd/{fd}")
        with open(f"/proc/{pid}/fdinfo/{fd}") as stream:
            fields = dict(line.split(":", 1) for line in stream if ":" in line)
    except FileNotFoundError:
        return ""
    mount = int(fields["mnt_id"])
    if mount in mounts or not stat.S_ISREG(info.st_mode):
        return ""
    return f"file[{mount:x}:{info.st_ino:x}]"


def write(directory: str, record: dict[str, list[str]]) -> list[str]:
    """Write both lists; the externals that a dump needs for them."""
    files = record["files"]
    _write(os.path.join(directory, NAME), record["paths"])
    if any(files):
        _write(os.path.join(directory, OWN_NAME), files)
    return [name for name in files if name]


def _write(path: str, entries: Sequence[str]) -> None:
    """A new file, for its owner's eyes only."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as stream:
        json.dump(list(entries), stream)


def read(directory: str) -> list[str]:
    """What 0 to 2 were, by the names that the images use; "" for what is in the container.

    A checkpoint without the files (not made by a container runtime) has nothing to inherit.
    """
    outside = [n if n.startswith("pipe:") else "" for n in _read(os.path.join(directory, NAME))]
    own = _read(os.path.join(directory, OWN_NAME)) or [""] * len(outside)
    return [pipe or file for pipe, file in zip(outside, own, strict=False)]


def _read(path: str) -> list[str]:
    try:
        with open(path) as stream:
            return [str(entry) for entry in json.load(stream)]
    except FileNotFoundError:
        return []
    except ValueError as err:
        raise ContainerError(f"{path} is not valid JSON: {err}") from err


def inherit(names: Sequence[str]) -> list[str]:
    """--inherit-fd: our own 0 to 2 in the place of what stayed outside."""
    return [f"fd[{fd}]:{name}" for fd, name in enumerate(names[:3]) if name]
