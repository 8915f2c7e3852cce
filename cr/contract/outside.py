"""What stays outside of the images and is handed over: --external, --inherit-fd, --join-ns.

External namespaces: `--external net[INODE]:NAME` at dump writes NAME into the image, `--inherit-fd fd[N]:NAME` at
restore says which open descriptor of ours it is (criu(8)).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from cr.kernel.namespaces import FLAGS
from cr.model import CheckpointError
from cr.values import dataclass

_INHERIT = re.compile(r"fd\[(\d+)\]:(.+)", re.DOTALL)
_JOIN = re.compile(r"([a-z]+):([^,]+)(?:,(\d+),(\d+))?")
_NAMESPACE = re.compile(r"(net|pid)\[(\d+)\]:(.+)")
JOINABLE = ("net", "uts", "ipc", "time", "user", "mnt", "cgroup")


@dataclass(frozen=True)
class Joined:
    """One --join-ns: the kind, the file that names the namespace, for a user namespace the ids to take there."""

    kind: str
    path: str
    uid: int | None = None
    gid: int | None = None


def inherited(options: Iterable[str]) -> dict[str, int]:
    """--inherit-fd fd[N]:RESOURCE as resource -> descriptor of ours."""
    found: dict[str, int] = {}
    for text in options:
        match = _INHERIT.fullmatch(text)
        if match is None:
            raise CheckpointError(f"--inherit-fd {text}: write it as fd[NUMBER]:RESOURCE")
        found[match[2]] = int(match[1])
    return found


def joined(options: Iterable[str]) -> list[Joined]:
    """--join-ns KIND:PID or KIND:FILE, for a user namespace user:FILE,UID,GID."""
    found: list[Joined] = []
    for text in options:
        match = _JOIN.fullmatch(text)
        if match is None or match[1] not in JOINABLE:
            raise CheckpointError(
                f"--join-ns {text}: write it as KIND:PID or KIND:FILE, KIND one of {', '.join(JOINABLE)}"
            )
        kind, place, uid, gid = match.groups()
        path = f"/proc/{place}/ns/{kind}" if place.isdigit() else place
        found.append(Joined(kind, path, None if uid is None else int(uid), None if gid is None else int(gid)))
    return found


def open_joined(join: Joined) -> int:
    """A descriptor of the namespace; close-on-exec."""
    from cr.kernel.namespaces import namespace_type

    try:
        fd = os.open(join.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"--join-ns {join.kind}: cannot open {join.path}: {error.strerror}") from error
    try:
        if namespace_type(fd) == FLAGS[join.kind]:
            return fd
    except OSError:
        pass  # no namespace at all: said below
    os.close(fd)
    raise CheckpointError(f"--join-ns {join.kind}: {join.path} is no {join.kind} namespace")


def external_key(options: Iterable[str], kind: str, inode: int) -> str | None:
    """The name that --external KIND[INODE]:NAME gives to a namespace of the tree."""
    for text in options:
        match = _NAMESPACE.fullmatch(text)
        if match and match[1] == kind and int(match[2]) == inode:
            return match[3]
    return None
