"""What /proc tells of an open file, and which resource it belongs to."""

from __future__ import annotations

import os
import stat

from cr.contract.dumping import DumpTask, OpenFile
from cr.contract.resource import FdResource, fd_resources
from cr.kernel import proc


def open_file(task: DumpTask, fd: int) -> OpenFile:
    """Everything that /proc tells about a descriptor."""
    path = f"/proc/{task.pid}/fd/{fd}"
    text = proc.fdinfo(task.pid, fd)
    return OpenFile(task, fd, os.readlink(path), os.stat(path), parse_fdinfo(text), text)


def open_path(task: DumpTask, name: str, flags: int) -> OpenFile:
    """The file behind a link of /proc/PID; `local` is an O_PATH descriptor of it."""
    path = f"/proc/{task.pid}/{name}"
    local = os.open(path, os.O_PATH | os.O_CLOEXEC)
    text = proc.fdinfo(os.getpid(), local)
    info = parse_fdinfo(text) | {"pos": "0", "flags": oct(flags | os.O_PATH)}
    return OpenFile(task, -1, os.readlink(path), os.stat(local), info, text, _local=local)


def parse_fdinfo(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        found[key] = value.strip()
    return found


def descriptors(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def claim(file: OpenFile) -> type[FdResource] | None:
    """The one resource that recognises an open file."""
    mode = file.stat.st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or file.flags & os.O_PATH:
        return _only_claim(file)
    key = stat.S_IFMT(mode), file.stat.st_dev, file.link[:2]  # files of one filesystem are of one kind
    if key not in _CLAIMS:
        _CLAIMS[key] = _only_claim(file)
    return _CLAIMS[key]


_CLAIMS: dict[tuple[int, int, str], type[FdResource] | None] = {}


def _only_claim(file: OpenFile) -> type[FdResource] | None:
    claims = [resource for resource in fd_resources() if resource.recognises(file)]
    if len(claims) > 1:
        raise RuntimeError(f"{file} is claimed by {', '.join(c.__name__ for c in claims)}")
    return claims[0] if claims else None
