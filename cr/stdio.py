"""Files of the host behind the first three descriptors of a container.

A container runtime may leave its own output, a file of the host, to the container.  No mount of the container shows it,
so the images cannot name it by a path.  It stays outside, as "file[mnt_id:inode]" (both hexadecimal, criu(8));
a list of our own beside the images says which descriptor it was, and at the restore the descriptor of the same number
of the restoring command takes its place.
"""

from __future__ import annotations

import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME = "woodfrog-stdio.json"


LOOKS, PAUSE = 8, 0.001
"""how often a running process is looked at, and the seconds in between"""


def host_files(pid: int | str) -> list[str]:
    """For each of 0 to 2 of a process: "file[mnt_id:inode]" if it is a regular file of the host, else "".

    A shell has other files there while a built-in command of it is redirected, and its own aside: who has a regular
    file of the container's is looked at again.
    """
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        mounts = {int(line.split(" ", 1)[0]) for line in stream}
    found: list[str | None] = [None] * 3
    for _ in range(LOOKS):
        seen = [host_file(pid, fd, mounts) for fd in range(3)]
        found = [old or new for old, new in zip(found, seen, strict=True)]
        if None not in found:
            break
        time.sleep(PAUSE)
    return [name or "" for name in found]


def host_file(pid: int | str, fd: int, mounts: set[int]) -> str | None:
    """The name of one descriptor's file if that is a regular one of the host; None if it is a regular one that one of
    these mounts holds, "" if it is none.
    """
    try:
        info = os.stat(f"/proc/{pid}/fd/{fd}")
        with open(f"/proc/{pid}/fdinfo/{fd}") as stream:
            fields = dict(line.split(":", 1) for line in stream if ":" in line)
    except FileNotFoundError:
        return ""
    if not stat.S_ISREG(info.st_mode):
        return ""
    mount = int(fields["mnt_id"])
    return None if mount in mounts else f"file[{mount:x}:{info.st_ino:x}]"


def write(directory: str, names: Sequence[str]) -> list[str]:
    """Write the list if it names anything; the externals that a dump needs for it."""
    if any(names):
        write_list(os.path.join(directory, NAME), names)
    return [name for name in names if name]


def read(directory: str) -> list[str]:
    """The list; [] where there is none."""
    return read_list(os.path.join(directory, NAME))


def inherit(names: Iterable[str]) -> list[str]:
    """--inherit-fd: our own 0 to 2 in the place of what stayed outside."""
    return [f"fd[{fd}]:{name}" for fd, name in zip(range(3), names, strict=False) if name]


def write_list(path: str, entries: Sequence[str]) -> None:
    """A new file of a JSON list, for its owner's eyes only."""
    import json

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as stream:
        json.dump(list(entries), stream)


def read_list(path: str) -> list[str]:
    """A JSON list of strings; [] where there is no file.  CheckpointError where it is something else."""
    if not os.path.exists(path):
        return []
    import json

    from cr.model import CheckpointError

    try:
        with open(path) as stream:
            content = json.load(stream)
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, list):
        raise CheckpointError(f"{path} is no list of names")
    return [str(entry) for entry in content]
