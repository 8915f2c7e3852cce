"""See a filesystem of a frozen container as it is beneath everything that is mounted over parts of it.

A child of ours enters the container's mount namespace and makes detached copies of the mounts asked for
(open_tree(2)).  Mounts that others hide are dug out in a private copy of the namespace, which dies with the child.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from cr.kernel import mounts as sys
from cr.kernel import proc
from cr.kernel.mountinfo import Mount, parse_line
from cr.kernel.namespaces import CLONE_NEWNS, CLONE_NEWUSER, owning_user_namespace, setns, unshare
from cr.kernel.pidfd import pidfd_getfd, pidfd_open
from cr.kernel.prctl import set_parent_death_signal
from cr.model import CheckpointError

_CLONE = sys.OPEN_TREE_CLONE | sys.OPEN_TREE_CLOEXEC | sys.AT_SYMLINK_NOFOLLOW | sys.AT_NO_AUTOMOUNT
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def views(pid: int, wanted: list[Mount], at_end: list[Callable[[], None]]) -> Iterator[dict[int, int]]:
    """Mount id -> descriptor of the root of that mount's filesystem, for mounts of task `pid`'s namespace.

    The child and its copies of mounts take their time to go: they are waited for when the dump is over.
    """
    results, answer = os.pipe()
    questions, done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done)
        _serve(pid, wanted, answer, questions)
    for fd in (answer, questions):
        os.close(fd)
    found: dict[int, int] = {}
    try:
        with os.fdopen(results, "rb") as stream:
            numbers = _parse(stream.read())
            found = _fetch(child, numbers)
        yield found
    finally:
        at_end.append(partial(_dismiss, child, [done, *found.values()]))


def _dismiss(child: int, descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
    os.kill(child, signal.SIGKILL)  # a sibling that was forked later may keep our end of its pipe open
    os.waitpid(child, 0)


def _parse(answer: bytes) -> dict[int, int]:
    content = pickle.loads(answer) if answer else "the child that looks into the mount namespace died"
    if isinstance(content, str):
        raise CheckpointError(content)
    return dict(content)


def _fetch(child: int, numbers: dict[int, int]) -> dict[int, int]:
    pidfd = pidfd_open(child)
    try:
        return {mount_id: pidfd_getfd(pidfd, fd) for mount_id, fd in numbers.items()}
    finally:
        os.close(pidfd)


def _serve(pid: int, wanted: list[Mount], answer: int, questions: int) -> None:
    """The child: copies, tells their numbers, and waits until its parent has fetched them."""
    try:
        set_parent_death_signal(signal.SIGKILL)
        try:
            content: object = _Looker(pid).find(wanted)
        except OSError as error:
            content = f"cannot look into the mount namespace of task {pid}: {error}"
        with os.fdopen(answer, "wb") as stream:
            stream.write(pickle.dumps(content))
        os.read(questions, 1)
    finally:
        os._exit(0)


class _Looker:
    """Inside the child."""

    def __init__(self, pid: int) -> None:
        self._proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
        self._namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._join_owner()

    def find(self, wanted: list[Mount]) -> dict[int, int]:
        return {mount.id: self._clone(mount) for mount in wanted}

    def _join_owner(self) -> None:
        """A copy of the namespace made by another user namespace than its own would have its mounts locked."""
        owner = owning_user_namespace(self._namespace)
        if os.fstat(owner).st_ino != proc.namespace_inode("self", "user"):
            setns(owner, CLONE_NEWUSER)
        os.close(owner)

    def _enter(self) -> None:
        setns(self._namespace, CLONE_NEWNS)

    def _clone(self, mount: Mount) -> int:
        self._enter()
        if mount.flags & sys.MS_UNBINDABLE or not self._shows(mount):
            self._dig(mount)
        try:
            return sys.open_tree(sys.AT_FDCWD, mount.mountpoint, _CLONE)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        # Mounts that came from a more privileged mount namespace (as below a bound /sys of a rootless container) are
        # locked onto what they cover: nobody may look beneath them (mount_namespaces(7)), so nothing there is in use.
        return sys.open_tree(sys.AT_FDCWD, mount.mountpoint, _CLONE | sys.AT_RECURSIVE)

    def _shows(self, mount: Mount) -> bool:
        """Whether the path leads to a mount of this filesystem's root."""
        there = self._at(mount.mountpoint)
        return there is not None and (there.device, there.root) == (mount.device, mount.root)

    def _dig(self, mount: Mount) -> None:
        """Take away what hides it, in a copy of the namespace."""
        unshare(CLONE_NEWNS)
        sys.mount(None, "/", None, sys.MS_REC | sys.MS_PRIVATE)
        while not self._shows(mount):
            cover = self._cover(mount.mountpoint)
            if cover is None or cover.mountpoint == "/":
                raise FileNotFoundError(2, f"{mount} is hidden by other mounts")
            sys.umount2(cover.mountpoint, sys.MNT_DETACH)

    def _cover(self, path: str) -> Mount | None:
        """The mount in which the longest existing part of a path ends."""
        while (there := self._at(path)) is None and path != "/":
            path = os.path.dirname(path)
        return there

    def _at(self, path: str) -> Mount | None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            fd = os.open(path, _LOOK)
            try:
                number = self._mount_id(fd)
            finally:
                os.close(fd)
            return next(mount for mount in self._mounts() if mount.id == number)
        return None

    def _mount_id(self, fd: int) -> int:
        info = self._read(f"self/fdinfo/{fd}")
        return next(int(line.split()[1]) for line in info.splitlines() if line.startswith(b"mnt_id:"))

    def _mounts(self) -> list[Mount]:
        return [parse_line(line) for line in self._read("self/mountinfo").splitlines()]

    def _read(self, name: str) -> bytes:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        with os.fdopen(fd, "rb") as stream:
            return stream.read()
