"""A cgroup directory and its files: reading, writing, and errors that name the file."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator

from cgroups.errors import from_os
from values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


@dataclass(frozen=True)
class Node:
    """One cgroup directory of one hierarchy."""

    path: str
    version: Literal[1, 2]

    def file(self, name: str) -> str:
        return posixpath.join(self.path, name)

    def exists(self, name: str = "") -> bool:
        return os.path.exists(posixpath.join(self.path, name))

    def read(self, name: str) -> str:
        """The file's text without its last newline."""
        try:
            with open(self.file(name)) as stream:
                return stream.read().rstrip("\n")
        except OSError as err:
            raise from_os(f"read cgroup file {self.file(name)}", err) from err

    def write(self, name: str, value: object) -> None:
        """Write in one write(2), as cgroup files want it; never creates a file."""
        write_file(self.file(name), str(value))

    def write_if_there(self, name: str, value: object) -> bool:
        """Write, or say False where this kernel has no such file."""
        if not self.exists(name):
            return False
        self.write(name, value)
        return True

    def number(self, name: str) -> int | None:
        """A file with one number; None for "max", for -1 and for a file that is not there."""
        if not self.exists(name):
            return None
        text = self.read(name)
        return None if text in ("max", "-1") else int(text)

    def pairs(self, name: str) -> dict[str, int]:
        """A flat keyed file ("key number" a line); empty where the file is not there."""
        if not self.exists(name):
            return {}
        split = (line.split() for line in self.read(name).splitlines())
        return {fields[0]: int(fields[1]) for fields in split if len(fields) == 2 and fields[1].isdigit()}

    def nested(self, name: str) -> dict[str, dict[str, str]]:
        """A nested keyed file ("key a=1 b=2" a line); empty where the file is not there."""
        if not self.exists(name):
            return {}
        split = (line.split() for line in self.read(name).splitlines())
        return {fields[0]: dict(f.split("=", 1) for f in fields[1:]) for fields in split if fields}


def write_file(path: str, value: str) -> None:
    """One write(2) to an existing file; CgroupError names value and path."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as err:
        raise from_os(f"write {value!r} to cgroup file {path}", err) from err


def subtree(path: str) -> Iterator[str]:
    """The cgroup directories at and below a path, parents first; those that vanish meanwhile are left out."""
    if not os.path.isdir(path):
        return
    yield path
    try:
        with os.scandir(path) as entries:
            children = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    for child in children:
        yield from subtree(child)


def read_ids(path: str, name: str) -> list[int]:
    """The pids (cgroup.procs) or tids (tasks, cgroup.threads) of one directory; none if it is gone."""
    try:
        with open(posixpath.join(path, name)) as stream:
            return [int(line) for line in stream]
    except OSError as err:
        # ENODEV: removed while it was open; EOPNOTSUPP: cgroup.procs of a threaded cgroup
        if err.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return []
        raise from_os(f"read cgroup file {posixpath.join(path, name)}", err) from err
