"""A directory of images: every file in it is reached through one directory descriptor."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from images.entry import ImageWriter, read_entries
from images.errors import ImageError
from images.file import ImageFile, write_all
from images.kinds import KINDS, ImageKind, kind_of_file
from images.payload import Payload

if TYPE_CHECKING:
    from google.protobuf.message import Message

PARENT = "parent"
_INVENTORY = KINDS["inventory"].filename()
_UNCOMMITTED = ".inventory.img.new"
_OF_NO_SNAPSHOT = frozenset({"cpuinfo", "irmap-cache", "stats-dump", "stats-restore"})
MODE = 0o600  # images hold a program's memory
CREATING = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Later(Protocol):
    """Writes images in the background."""

    def put(self, name: str, content: bytes) -> None:
        """Make a file with this content, soon."""

    def finish(self) -> None:
        """All are there; raises what went wrong."""

    def abort(self) -> None:
        """No more are made."""


class ImageDirectory:
    """One snapshot. Files are named by kind (see `images.kinds`) and ids: `read_one("core", 42)`.

    `fd` is the directory, `path` what messages to the user call it. Close it, or use it as a context manager.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.later: Later | None = None
        """who writes images that are small, by and by; see `make_whole`"""
        self._written: set[str] = set()
        self._made = False

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ImageDirectory:
        """An existing directory. Raises ImageError if it is missing or not one."""
        try:
            return cls(os.open(path, _DIRECTORY), os.fspath(path))
        except OSError as err:
            raise ImageError(path, f"the image directory cannot be opened: {err.strerror}") from err

    @classmethod
    def from_fd(cls, fd: int, path: str | os.PathLike[str] | None = None) -> ImageDirectory:
        """A directory that is open already; `fd` stays the caller's, this object has a duplicate."""
        name = os.fspath(path) if path is not None else os.readlink(f"/proc/self/fd/{fd}")
        return cls(os.open(".", _DIRECTORY, dir_fd=fd), name)

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> ImageDirectory:
        """A directory to dump into: made with mode 0755 (its parents are not), or an existing one."""
        made = True
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            made = False
        except OSError as err:
            raise ImageError(path, f"the image directory cannot be made: {err.strerror}") from err
        directory = cls.open(path)
        directory._made = made
        return directory

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; the object is of no use afterwards."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # Writing

    def writer(self, kind: str, *ids: int) -> ImageWriter:
        """A new image, in place of an old one of that name. Use as a context manager."""
        row = _entries_kind(kind)
        name = row.filename(*ids)
        whole = partial(self.later.put, name) if self.later is not None else None
        return ImageWriter(partial(self._make, name), os.path.join(self.path, name), row, whole)

    def write(self, kind: str, *ids: int, entries: Iterable[Message]) -> None:
        """A whole image without payloads."""
        with self.writer(kind, *ids) as image:
            for entry in entries:
                image.add(entry)

    def commit(self, inventory: Message) -> None:
        """Write inventory.img, last and atomically: a directory that has one is a complete snapshot."""
        if self.later is not None:
            self.later.finish()
        make, path = partial(self._make, _UNCOMMITTED), os.path.join(self.path, _INVENTORY)
        with ImageWriter(make, path, KINDS["inventory"]) as image:
            image.add(inventory)
        os.rename(_UNCOMMITTED, _INVENTORY, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        self._written.discard(_UNCOMMITTED)
        self._written.add(_INVENTORY)

    def uncommit(self) -> None:
        """Remove the images of an older snapshot, inventory.img first: none may be taken for one of the new.

        What says nothing about tasks stays: `cpuinfo dump` may have been here before.
        """
        found = ((name, kind_of_file(name)) for name in self.names())
        old = [name for name, kind in found if kind is not None and kind[0].name not in _OF_NO_SNAPSHOT]
        for name in sorted(old, key=lambda name: name != _INVENTORY):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.fd)

    def discard(self) -> None:
        """Remove every file that this object wrote, and the directory if this object made it."""
        if self.later is not None:
            self.later.abort()
        for name in sorted(self._written):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.fd)
        self._written.clear()
        if self._made and not self.names():
            os.rmdir(self.path)
            self._made = False

    def _make(self, name: str) -> int:
        """A new file; an old one is unlinked, not written through, whoever still has it open or linked."""
        self._written.add(name)
        try:
            try:
                return os.open(name, CREATING, MODE, dir_fd=self.fd)
            except FileExistsError:
                os.unlink(name, dir_fd=self.fd)
                return os.open(name, CREATING, MODE, dir_fd=self.fd)
        except OSError as err:
            raise ImageError(os.path.join(self.path, name), f"cannot be created: {err.strerror}") from err

    def make_whole(self, name: str, content: bytes) -> None:
        """A file with this content."""
        fd = self._make(name)
        try:
            write_all(fd, os.path.join(self.path, name), content)
        finally:
            os.close(fd)

    def made(self, name: str) -> None:
        """Somebody else makes, or has made, this file for us: `discard` removes it."""
        self._written.add(name)

    # Reading

    def reader(self, kind: str, *ids: int) -> Iterator[tuple[Any, Payload]]:
        """Entries with their payloads, one at a time. Raises ImageError where the image is torn.

        An entry is of the class that `images.kinds` names: `core: m.core_entry = d.read_one("core", 42)`.
        """
        row = _entries_kind(kind)
        name = row.filename(*ids)
        return read_entries(ImageFile(self._open(name), os.path.join(self.path, name)), row)

    def read(self, kind: str, *ids: int) -> list[Any]:
        """All entries, without payloads."""
        return [entry for entry, _ in self.reader(kind, *ids)]

    def read_one(self, kind: str, *ids: int) -> Any:
        """The only entry. Raises ImageError if there are none or several."""
        entries = self.read(kind, *ids)
        if len(entries) != 1:
            path = os.path.join(self.path, KINDS[kind].filename(*ids))
            raise ImageError(path, f"has {len(entries)} entries where one is expected")
        return entries[0]

    def exists(self, kind: str, *ids: int) -> bool:
        """True if the snapshot has that image."""
        try:
            os.stat(KINDS[kind].filename(*ids), dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def ids(self, kind: str) -> list[tuple[int, ...]]:
        """The ids of every image of that kind, sorted."""
        found = (kind_of_file(name) for name in self.names())
        return sorted(ids for row, ids in filter(None, found) if row.name == kind)

    def names(self) -> list[str]:
        """Every file name in the directory, sorted."""
        return sorted(os.listdir(self.fd))

    def open_raw(self, kind: str, *ids: int, write: bool = False, change: bool = False) -> int:
        """Descriptor of an image that has no entries (pages, archives); `write` makes a new empty one.

        `change` opens an existing one for writing too.  The caller closes it.
        """
        row = KINDS[kind]
        if not row.raw:
            raise ValueError(f"{kind} images are made of entries")
        name = row.filename(*ids)
        return self._make(name) if write else self._open(name, os.O_RDWR if change else os.O_RDONLY)

    def _open(self, name: str, access: int = os.O_RDONLY) -> int:
        """An existing file, without waiting for the other end should it be a fifo."""
        try:
            fd = os.open(name, access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError as err:
            raise ImageError(os.path.join(self.path, name), "this image is missing from the snapshot") from err
        except OSError as err:
            raise ImageError(os.path.join(self.path, name), f"cannot be opened: {err.strerror}") from err
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise ImageError(os.path.join(self.path, name), "an image must be a regular file, this is something else")

    # Snapshots that build on others

    def parent(self) -> ImageDirectory | None:
        """The snapshot that this one is relative to, or None. The caller closes it."""
        try:
            fd = os.open(PARENT, _DIRECTORY, dir_fd=self.fd)
        except FileNotFoundError as err:
            if PARENT not in self.names():
                return None
            raise ImageError(
                os.path.join(self.path, PARENT), "the parent snapshot is not where this link points"
            ) from err
        except OSError as err:
            raise ImageError(os.path.join(self.path, PARENT), f"cannot be opened: {err.strerror}") from err
        return ImageDirectory(fd, os.path.join(self.path, PARENT))

    def relative(self, path: str) -> ImageDirectory:
        """Another directory, by its path as seen from this one. Raises ImageError where there is none."""
        try:
            return ImageDirectory(os.open(path, _DIRECTORY, dir_fd=self.fd), os.path.join(self.path, path))
        except OSError as err:
            raise ImageError(
                os.path.join(self.path, path), f"the image directory cannot be opened: {err.strerror}"
            ) from err

    def same_as(self, other: ImageDirectory) -> bool:
        """True if both are one directory, whatever it is called."""
        return os.path.samestat(os.fstat(self.fd), os.fstat(other.fd))

    def link_parent(self, target: str) -> None:
        """Make this snapshot relative to the one at `target`, a path as seen from this directory."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(PARENT, dir_fd=self.fd)
            os.symlink(target, PARENT, dir_fd=self.fd)
        except OSError as err:
            raise ImageError(os.path.join(self.path, PARENT), f"cannot be linked: {err.strerror}") from err
        self._written.add(PARENT)


def _entries_kind(kind: str) -> ImageKind:
    row = KINDS[kind]
    if row.raw:
        raise ValueError(f"{kind} images are raw, open them with open_raw")
    return row
