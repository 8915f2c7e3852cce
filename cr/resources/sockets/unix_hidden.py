"""Unix sockets bound in directories that their names do not lead to any more.

Another mount hides the directory, or it is in another mount namespace than the root task's.  The socket is bound by
its name below a directory made for a moment, whose root a thread of ours takes; the file then moves to its place
through a view of the filesystem on which nothing is mounted.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cr.contract.mounts import PlacedMount, inside, placed
from cr.kernel.files import mount_id, open_in_root
from cr.kernel.rooted import rooted
from cr.model import CheckpointError
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Room:
    """Descriptors of directories: to make a directory in, the same in a view to move from, and where to, as `leaf`."""

    outer: int
    bare: int
    target: int
    leaf: str


def bind_elsewhere(bind: Callable[[bytes], None], name: bytes, directory: str, room: Room) -> tuple[int, bool]:
    """Call `bind(name)` as if in `directory`, below a directory made for a moment, and move the file from there.

    An O_PATH descriptor of the file, and whether it replaced one.
    """
    import shutil

    scratch = f".woodfrog-{os.getpid()}"
    made = os.path.normpath(os.path.join("/", directory, os.fsdecode(name)))
    os.mkdir(scratch, 0o700, dir_fd=room.outer)
    try:
        with _open(os.open(scratch, _DIRECTORY, dir_fd=room.outer)) as root:
            rooted(root, root, lambda: _bind_below(bind, name, directory))
        replaces = _replaces(room.leaf, room.target)
        os.rename(scratch + made, room.leaf, src_dir_fd=room.bare, dst_dir_fd=room.target)
        return os.open(room.leaf, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=room.target), replaces
    finally:
        shutil.rmtree(scratch, dir_fd=room.bare)


@dataclass(frozen=True)
class HiddenPlace:
    """A path in a mount, seen through that mount; other mounts may be in the way."""

    path: str
    """in the mount's namespace"""
    mount: PlacedMount

    def bind(self, bind: Callable[[bytes], None], name: bytes, directory: str) -> tuple[int, bool]:
        """Call `bind(name)` as if in `directory`; an O_PATH descriptor of the file, and whether it replaced one."""
        base, (above, leaf) = self._nearest(), os.path.split(self.path)
        with _open(self._through(base)) as outer, _open(self._bare(base)) as bare, _open(self._bare(above)) as target:
            return bind_elsewhere(bind, name, directory, Room(outer, bare, target, leaf))

    def _through(self, path: str) -> int:
        return open_in_root(self.mount.fd, inside(self.mount, path) or ".", _DIRECTORY)

    def _bare(self, path: str) -> int:
        """The directory in the view on which nothing is mounted."""
        within = os.path.join(self.mount.source_path, inside(self.mount, path))
        return open_in_root(self.mount.source_fd, within or ".", _DIRECTORY)

    def _nearest(self) -> str:
        """The nearest directory above that the mount itself leads to."""
        path = os.path.dirname(self.path)
        while path != self.mount.mountpoint:
            with contextlib.suppress(OSError), _open(self._through(path)) as fd:
                if mount_id(fd) == mount_id(self.mount.fd):
                    return path
            path = os.path.dirname(path)
        return path

    def is_in_sight(self, context: RestoreContext) -> bool:
        """Whether the path leads to the same directory, through the same mount, from the root directory."""
        with _open(self._bare(os.path.dirname(self.path))) as here:
            try:
                seen = context.open(os.path.dirname(self.path), _DIRECTORY)
            except OSError:
                return False
            with _open(seen):
                return mount_id(seen) == mount_id(self.mount.fd) and os.path.samestat(os.fstat(seen), os.fstat(here))


def hidden_place(path: str, mnt_id: int, context: RestoreContext) -> HiddenPlace | None:
    """Where to bind a socket whose path leads elsewhere by now, None where it is in sight."""
    mount = placed(context).get(mnt_id)
    if mount is None or mount.source_fd < 0:
        return None
    place = HiddenPlace(path, mount)
    return None if place.is_in_sight(context) else place


@contextlib.contextmanager
def _open(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _bind_below(bind: Callable[[bytes], None], name: bytes, directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    os.makedirs(os.path.dirname(name) or b".", exist_ok=True)
    bind(name)


def _replaces(leaf: str, directory: int) -> bool:
    """Whether there is what a socket of an earlier life left behind; nothing else may be replaced."""
    try:
        if stat.S_ISSOCK(os.stat(leaf, dir_fd=directory, follow_symlinks=False).st_mode):
            return True
    except FileNotFoundError:
        return False
    raise CheckpointError(f"{leaf} is in the way of a unix socket of that name: remove it")
