"""Whether the name that /proc gives for an open file still leads to it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.mounts import task_seeing
from cr.kernel import proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, OpenFile

DELETED = " (deleted)"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def root_path(file: OpenFile, context: DumpContext) -> str:
    """What we write before a name in a link of /proc to reach the file: the root of its mount namespace."""
    task = task_seeing(file.mnt_id, context)
    if task is None:
        task = file.task if file.task.pid != os.getpid() else context.root  # else it was on its way between tasks
    return _path_of(task, context)


def _path_of(task: DumpTask, context: DumpContext) -> str:
    return context.once(("path of mount namespace", task.pid), lambda: _root_path(task))


def _root_path(task: DumpTask) -> str:
    if proc.namespace_inode(task.pid, "mnt") == proc.namespace_inode("self", "mnt"):
        return ""
    path = f"/proc/{task.pid}/root"
    while _identity(path) != _identity(f"{path}/.."):  # it may be in a chroot: the top is where ".." leads no further
        path += "/.."
    return path


def _identity(path: str) -> tuple[int, int, str]:
    fd = os.open(path, _DIRECTORY)
    try:
        status = os.fstat(fd)
        return status.st_dev, status.st_ino, proc.fdinfo(os.getpid(), fd).partition("mnt_id:")[2].split()[0]
    finally:
        os.close(fd)


def tree_root(file: OpenFile, context: DumpContext) -> int:
    """A descriptor of that root, open until the dump is over."""
    return _open_root(root_path(file, context) or "/", context)


def task_root(task: DumpTask, context: DumpContext) -> int:
    """The same for the mount namespace of a task."""
    return _open_root(_path_of(task, context) or "/", context)


def _open_root(path: str, context: DumpContext) -> int:
    def open_root() -> int:
        fd = os.open(path, _DIRECTORY)
        context.at_end.append(partial(os.close, fd))
        return fd

    return context.once(("root of mount namespace", path), open_root)


def leads_to(name: str, file: OpenFile, context: DumpContext) -> bool:
    """Whether the file is found under `name`."""
    try:
        found = os.stat(name.lstrip("/") or ".", dir_fd=tree_root(file, context), follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return False
    return (found.st_dev, found.st_ino) == (file.stat.st_dev, file.stat.st_ino)


def existing_directory(path: str, file: OpenFile, context: DumpContext) -> int:
    """A descriptor of a directory of the file's mount namespace, which the caller closes; -1 where there is none."""
    try:
        return os.open(path.lstrip("/") or ".", _DIRECTORY, dir_fd=tree_root(file, context))
    except FileNotFoundError:
        return -1


def name_beside(file: OpenFile, context: DumpContext) -> str | None:
    """Another name of a deleted file in the directory of the one that /proc gives: sem_open(3) leaves it at that."""
    directory = os.path.dirname(file.link.removesuffix(DELETED))
    try:
        fd = os.open(directory.lstrip("/") or ".", _LISTED, dir_fd=tree_root(file, context))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        with os.scandir(fd) as entries:
            names = [entry.name for entry in entries if entry.inode() == file.stat.st_ino]
    finally:
        os.close(fd)
    paths = (os.path.join(directory, name) for name in names)
    return next((path for path in paths if leads_to(path, file, context)), None)


def leads_to_inode(name: str, inode: int, root: int) -> bool:
    """Whether the inode (of a filesystem that is known otherwise) is found under `name`."""
    try:
        return os.stat(name.lstrip("/") or ".", dir_fd=root, follow_symlinks=False).st_ino == inode
    except (FileNotFoundError, NotADirectoryError):
        return False
