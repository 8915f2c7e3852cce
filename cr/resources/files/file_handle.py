"""Watches of inotify and fanotify are on inodes, which the kernel shows as file handles: find their paths."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.mounts import mounts, namespaces
from cr.kernel import files
from cr.kernel.mountinfo import Mount, mountinfo
from cr.resources.files.file_name import DELETED, leads_to_inode, task_root

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_WORDS = 16
_SCAN_LIMIT = 200_000


def handle_entry(fields: dict[str, str]) -> m.fh_entry:
    """fh_entry of the `fhandle-*` and `f_handle` fields of a line of fdinfo; empty where it has none."""
    from images import messages as m

    raw = bytes.fromhex(fields.get("f_handle", ""))
    words = struct.unpack(f"<{_WORDS}Q", raw.ljust(8 * _WORDS, b"\0"))
    return m.fh_entry(bytes=len(raw), type=int(fields.get("fhandle-type", "0"), 16), handle=words)


def raw_handle(entry: m.fh_entry) -> bytes:
    return struct.pack(f"<{len(entry.handle)}Q", *entry.handle)[: entry.bytes]


def find_path(entry: m.fh_entry, device: int, inode: int, file: OpenFile, context: DumpContext) -> bool:
    """Set the path of what `file` watches, and the mount it is seen through; False where it has none (any more)."""
    tasks = [file.task, *namespaces(context).values()]
    return any(_find(entry, device, inode, task, context) for task in tasks)


def _find(entry: m.fh_entry, device: int, inode: int, task: DumpTask, context: DumpContext) -> bool:
    candidates = [mount for mount in mountinfo(task.pid) if mount.device == device]
    candidates.sort(key=lambda mount: (mount.root != "/", len(mount.mountpoint)))
    root = task_root(task, context)
    for mount, path in _paths(entry, inode, candidates, task, context):
        if _leads_to(path, entry, inode, root):
            entry.path = path
            if mount.id in mounts(context):
                entry.mnt_id = mount.id
            return True
    return False


def _leads_to(path: str, entry: m.fh_entry, inode: int, root: int) -> bool:
    """By its handle where that can be asked for: numbers are not unique where layers lie upon each other."""
    try:
        found = files.handle_of(path.lstrip("/") or ".", root, entry.bytes) if entry.bytes else None
    except (FileNotFoundError, NotADirectoryError):
        return False
    return leads_to_inode(path, inode, root) if found is None else found == (entry.type, raw_handle(entry))


def _paths(
    entry: m.fh_entry, inode: int, candidates: list[Mount], task: DumpTask, context: DumpContext
) -> Iterator[tuple[Mount, str]]:
    """What may be its path: what the handle leads to, then what has its inode number, near the task or anywhere."""
    root = task_root(task, context)
    for mount in [] if context.options.force_irmap else candidates:
        fd = _open_by_handle(entry, mount, root)
        if fd is not None:
            try:
                yield mount, os.readlink(f"/proc/self/fd/{fd}").removesuffix(DELETED)
                if not os.fstat(fd).st_nlink:
                    return
            finally:
                os.close(fd)
    for mount in candidates[:1]:
        for top in (*context.options.irmap_scan_path, *_work_directory(task, mount, root), mount.mountpoint):
            for path in _scan(top, inode, root):
                yield mount, path


def _work_directory(task: DumpTask, mount: Mount, root: int) -> list[str]:
    """Where the task is, if that is in the filesystem of `mount`."""
    path = os.readlink(f"/proc/{task.pid}/cwd")
    try:
        devices = {os.stat(name.lstrip("/") or ".", dir_fd=root).st_dev for name in (path, mount.mountpoint)}
    except OSError:
        return []  # deleted, or not to be reached
    return [path] if len(devices) == 1 else []


def _open_by_handle(entry: m.fh_entry, mount: Mount, root: int) -> int | None:
    """An O_PATH descriptor of the file; None where it is not to be had by its handle."""
    if not entry.bytes:
        return None
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        directory = os.open(mount.mountpoint.lstrip("/") or ".", flags, dir_fd=root)
    except OSError:
        return None  # hidden by another mount, or gone: there may be one more of this filesystem
    try:
        return files.open_by_handle(directory, entry.type, raw_handle(entry), os.O_PATH)
    except OSError as error:
        if error.errno not in (errno.ESTALE, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOENT):
            raise
        return None  # gone, or a filesystem that makes handles but takes none (overlay)
    finally:
        os.close(directory)


def _scan(top: str, inode: int, root: int) -> Iterator[str]:
    """Paths of one filesystem, below a directory, that have this inode number; near ones first.

    Entries of an overlay's directories do not tell the number that the directories themselves have.
    """
    waiting, seen, device = [top], 0, -1
    for directory in waiting:
        try:
            fd = os.open(directory.lstrip("/") or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
        except OSError:
            continue  # not ours to read, or gone meanwhile
        try:
            found = os.fstat(fd)
            device = found.st_dev if device < 0 else device
            if found.st_dev != device:
                continue
            if found.st_ino == inode:
                yield directory
            with os.scandir(fd) as entries:
                for entry in entries:
                    seen += 1
                    path = os.path.join(directory, entry.name)
                    if entry.inode() == inode:
                        yield path
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
        finally:
            os.close(fd)
        if seen > _SCAN_LIMIT:
            return


def open_handle(entry: m.fh_entry, device: int, inode: int, context: RestoreContext) -> int:
    """An O_PATH descriptor of what a watch was on: by its path, as a deleted file, or by its handle; ours to close."""
    from cr.resources.files.ghost_restore import any_name, ghost_file, ghosts

    if entry.path:
        return context.open(entry.path, os.O_PATH, mnt_id=entry.mnt_id if entry.HasField("mnt_id") else -1)
    number = context.once("ghosts by inode", lambda: ghosts(context)).get((device, inode))
    if number is not None:
        return os.dup(ghost_file(number, *any_name(number, context), context))
    directory = context.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return files.open_by_handle(directory, entry.type, raw_handle(entry), os.O_PATH)
    finally:
        os.close(directory)
