"""Deleted files come back: made under their old names, opened, deleted again."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.idmaps import gids, uids
from cr.contract.mounts import inside, placed
from cr.kernel.files import open_in_root
from cr.kernel.ids import making_files_as
from cr.model import BadImages, CheckpointError
from cr.resources.files.remaps import GHOST, remaps
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from images import messages as m
    from images.payload import Payload

_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_SUFFIX = ".woodfrog-ghost"


Name = tuple[bytes, int]
"""path, id of the mount it is seen through (-1: none in the images)"""


@dataclass(frozen=True)
class Ghost:
    """A deleted file that exists again: its image, and O_PATH descriptors of ours by old name."""

    entry: m.ghost_file_entry
    by_name: dict[Name, int]


def ghost_file(number: int, path: bytes, mnt_id: int, context: RestoreContext) -> int:
    """An O_PATH descriptor of the file of ghost-file-NUMBER.img that once had this name."""
    ghost = context.once(("ghost", number), lambda: _make(number, context))
    return ghost.by_name[path, mnt_id]


def ghosts(context: RestoreContext) -> dict[tuple[int, int], int]:
    """(device, inode) that a deleted file had -> number of its image."""
    found: dict[tuple[int, int], int] = {}
    for number in {entry.remap_id for entry in remaps(context).values() if entry.remap_type == GHOST}:
        entry = next(context.images.reader("ghost-file", number))[0]
        found[entry.dev, entry.ino] = number
    return found


def any_name(number: int, context: RestoreContext) -> Name:
    return min(_names(number, context))


def _names(number: int, context: RestoreContext) -> set[Name]:
    from cr.resources.files.regular_file import path_of

    owners = (e.orig_id for e in remaps(context).values() if e.remap_type == GHOST and e.remap_id == number)
    files = [context.file_entries[file_id].reg for file_id in owners if file_id in context.file_entries]
    return {(path_of(file, context), file.mnt_id) for file in files}


def _make(number: int, context: RestoreContext) -> Ghost:
    contents = context.images.reader("ghost-file", number)
    entry, payload = next(contents)
    ghost = Ghost(entry, {})
    owner = uids(context).outside(entry.uid), gids(context).outside(entry.gid)
    with contextlib.ExitStack() as stack:
        stack.enter_context(making_files_as(uids(context).outside(0), gids(context).outside(0)))
        first = b""
        for path, mnt_id in sorted(_names(number, context)):
            place = _Place(mnt_id, context)
            directory = stack.enter_context(place.directory(os.path.dirname(path)))
            leaf = _free_leaf(directory, os.path.basename(path))
            if first:
                os.link(first, leaf, dst_dir_fd=directory)
            else:
                _create(entry, leaf, directory)
            stack.callback(_remove, leaf, directory)
            if not first:
                _fill(entry, owner, payload, contents, leaf, directory)
                first = f"/proc/self/fd/{directory}/".encode() + leaf
            ghost.by_name[path, mnt_id] = context.keep(place.look(os.path.join(os.path.dirname(path), leaf)))
    return ghost


@dataclass(frozen=True)
class _Place:
    """Where the names of a mount lead to; what is written goes past the mount's own flags (it may be read-only)."""

    mnt_id: int
    context: RestoreContext

    def look(self, path: bytes) -> int:
        return self.context.open(path, os.O_PATH | os.O_NOFOLLOW, mnt_id=self.mnt_id)

    def _writable(self, path: bytes) -> int:
        mount = placed(self.context).get(self.mnt_id)
        if mount is None:
            return self.context.open(path, _DIRECTORY)
        within = os.path.join(mount.source_path, inside(mount, os.fsdecode(path)))
        return open_in_root(mount.source_fd, within or ".", _DIRECTORY)

    @contextlib.contextmanager
    def directory(self, path: bytes) -> Iterator[int]:
        """The directory, made for the time being (with those above it) where it is gone."""
        try:
            fd = self._writable(path)
        except FileNotFoundError:
            if path in (b"", b"/"):
                raise
            with self.directory(os.path.dirname(path)) as parent:
                leaf = os.path.basename(path)
                os.mkdir(leaf, 0o700, dir_fd=parent)
                try:
                    with self.directory(path) as made:
                        yield made
                finally:
                    os.rmdir(leaf, dir_fd=parent)
            return
        try:
            yield fd
        finally:
            os.close(fd)


def _free_leaf(directory: int, leaf: bytes) -> bytes:
    """The name itself, or where another file has it by now, one like it."""
    candidate, number = leaf[:255], 0
    while True:
        try:
            os.stat(candidate, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return candidate
        number += 1
        candidate = leaf[:220] + f"{_SUFFIX}-{number}".encode()


def _create(entry: m.ghost_file_entry, leaf: bytes, directory: int) -> None:
    kind = stat.S_IFMT(entry.mode)
    try:
        if kind == stat.S_IFDIR:
            os.mkdir(leaf, 0o700, dir_fd=directory)
        elif kind == stat.S_IFLNK:
            os.symlink(entry.symlnk_target, leaf, dir_fd=directory)
        else:
            os.mknod(leaf, kind | 0o600, entry.rdev, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        raise CheckpointError(
            f"the deleted file {os.fsdecode(leaf)} cannot be made again on its read-only filesystem: mount it writable"
        ) from error


def _remove(leaf: bytes, directory: int) -> None:
    if stat.S_ISDIR(os.stat(leaf, dir_fd=directory, follow_symlinks=False).st_mode):
        os.rmdir(leaf, dir_fd=directory)
    else:
        os.unlink(leaf, dir_fd=directory)


def _fill(
    entry: m.ghost_file_entry,
    owner: tuple[int, int],
    payload: Payload,
    rest: Iterator[tuple[m.ghost_chunk_entry, Payload]],
    leaf: bytes,
    directory: int,
) -> None:
    if stat.S_ISREG(entry.mode):
        fd = os.open(leaf, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
        try:
            _write_content(fd, entry, payload, rest)
        finally:
            os.close(fd)
    os.chown(leaf, *owner, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(entry.mode):
        os.chmod(leaf, stat.S_IMODE(entry.mode), dir_fd=directory)
    if entry.HasField("mtim"):
        times = tuple((t.tv_sec * 1_000_000 + t.tv_usec) * 1000 for t in (entry.atim, entry.mtim))
        os.utime(leaf, ns=(times[0], times[1]), dir_fd=directory, follow_symlinks=False)


def _write_content(
    fd: int, entry: m.ghost_file_entry, payload: Payload, rest: Iterator[tuple[m.ghost_chunk_entry, Payload]]
) -> None:
    if not entry.chunks:
        for piece in payload.chunks():
            _write_all(fd, piece)
        return
    os.ftruncate(fd, entry.size)
    for chunk, data in rest:
        if chunk.off + chunk.len > entry.size:
            raise BadImages(f"a deleted file of {entry.size} bytes has data at {chunk.off:#x}, behind its end")
        os.lseek(fd, chunk.off, os.SEEK_SET)
        for piece in data.chunks():
            _write_all(fd, piece)


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        view = view[os.write(fd, view) :]
