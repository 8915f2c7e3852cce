"""State on disk: <root>/<id>/state.json, written atomically, and a lock beside it.

Directory: mode 0711.  Files: state.json (0600), lock (flock), exec.fifo while the container waits for start.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time

from runtime.errors import ContainerError
from runtime.ownership import acting_for, owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ID = re.compile(r"[\w+.-]+\Z", re.ASCII)
LOCK_DEADLINE = 10.0

TAKEN = "container with given ID already exists"


class Store:
    """The directory of one container."""

    def __init__(self, root: str, container: str) -> None:
        check_id(container)
        self.id = container
        self.directory = os.path.join(root, container)
        self.owner = owner_of(root)
        self._lock = -1

    def path(self, name: str) -> str:
        """The path of a file in the directory."""
        return os.path.join(self.directory, name)

    def check_free(self) -> None:
        """Raises ContainerError if the id is taken; `make` does so too, this is to be said before all other reasons."""
        if os.path.lexists(self.directory):
            raise ContainerError(TAKEN)

    def make(self) -> None:
        """Make the directory and take the lock.  Raises ContainerError if the id is taken."""
        with acting_for(self.owner):
            try:
                os.makedirs(os.path.dirname(self.directory), 0o711, exist_ok=True)
                os.mkdir(self.directory, 0o711)
            except FileExistsError as err:
                raise ContainerError(TAKEN) from err
            os.chmod(self.directory, 0o711)
            self.lock()

    def exists(self) -> bool:
        """Whether there is such a directory, with or without a state."""
        return os.path.isdir(self.directory)

    def lock(self) -> None:
        """Take the lock; the caller is then the only one who changes this container."""
        try:
            fd = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as err:
            raise ContainerError("container does not exist") from err
        deadline = time.monotonic() + LOCK_DEADLINE
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                os.close(fd)
                raise ContainerError(f"container {self.id} is held by another command; try again when it ends")
            time.sleep(0.005)
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            raise ContainerError("container does not exist")
        self._lock = fd

    def forget_lock(self) -> None:
        """In a child: let go of the parent's lock, so that it ends with the parent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def save(self, state: dict[str, Any]) -> None:
        """Write state.json: a new file that takes the old one's place.

        It is not made durable (fsync(2), some milliseconds on a disk): should the machine fail, no container is left.
        """
        with acting_for(self.owner):
            self._write(state)

    def _write(self, state: dict[str, Any]) -> None:
        temporary = self.path(f".state.{os.getpid()}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w") as stream:
                json.dump(state, stream)
            os.rename(temporary, self.path("state.json"))
        except BaseException:
            os.unlink(temporary)
            raise

    def load(self) -> dict[str, Any]:
        """Read state.json.  Raises ContainerError if there is none."""
        try:
            with open(self.path("state.json")) as stream:
                state: dict[str, Any] = json.load(stream)
        except (FileNotFoundError, NotADirectoryError) as err:
            raise ContainerError("container does not exist") from err
        except ValueError as err:
            raise ContainerError(f"{self.path('state.json')} is damaged: {err}; use delete --force") from err
        return state

    def remove(self) -> None:
        """Remove the directory and all that is in it; state.json goes first, the container ends with it."""
        for name in ("state.json", "exec.fifo"):
            _unlink(self.path(name))
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return
        for name in names:
            _remove_entry(self.path(name))
        try:
            os.rmdir(self.directory)
        except FileNotFoundError:
            return


def check_id(container: str) -> None:
    """Raise ContainerError for an id that is empty, leads elsewhere or has other characters than \\w+-. ."""
    if not _ID.match(container) or container in (".", ".."):
        raise ContainerError("invalid container ID format")


def all_ids(root: str) -> list[str]:
    """The ids below `root`, sorted."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if _ID.match(name) and os.path.isdir(os.path.join(root, name)))


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return


def _remove_entry(path: str) -> None:
    """A file, or the empty directory that a restore used as a mountpoint; never below a mount."""
    try:
        os.unlink(path)
    except (IsADirectoryError, PermissionError):
        os.rmdir(path)
    except OSError as err:
        if err.errno != errno.ENOENT:
            raise
