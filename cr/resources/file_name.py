"""Whether the name that /proc gives for an open file still leads to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.kernel import proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, OpenFile

DELETED = " (deleted)"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def tree_root(task: DumpTask, context: DumpContext) -> int:
    """Root directory of the mount namespace of a task, to which the names in its /proc links are relative."""
    inode = proc.namespace_inode(task.pid, "mnt")
    return context.once(("root of mount namespace", inode), lambda: _open_root(task, inode, context))


def _open_root(task: DumpTask, inode: int, context: DumpContext) -> int:
    own = inode == proc.namespace_inode("self", "mnt")
    root = os.open("/" if own else f"/proc/{task.pid}/root", _DIRECTORY)
    while not own:  # the task may be in a chroot: the top is where ".." leads no further
        above = os.open("..", _DIRECTORY, dir_fd=root)
        same = _identity(above) == _identity(root)
        os.close(root)
        root = above
        if same:
            break
    context.at_end.append(lambda: os.close(root))
    return root


def _identity(fd: int) -> tuple[int, int, str]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, proc.fdinfo(os.getpid(), fd).partition("mnt_id:")[2].split()[0]


def leads_to(name: str, file: OpenFile, context: DumpContext) -> bool:
    """Whether the file is found under `name`."""
    try:
        found = os.stat(name.lstrip("/") or ".", dir_fd=tree_root(file.task, context), follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return False
    return (found.st_dev, found.st_ino) == (file.stat.st_dev, file.stat.st_ino)


def parent_directory(name: str, file: OpenFile, context: DumpContext) -> int:
    """A descriptor of the directory that `name` is in; the caller closes it."""
    directory = os.path.dirname(name).lstrip("/") or "."
    return os.open(directory, _DIRECTORY, dir_fd=tree_root(file.task, context))


def leads_to_inode(name: str, inode: int, root: int) -> bool:
    """Whether the inode (of a filesystem that is known otherwise) is found under `name`."""
    try:
        return os.stat(name.lstrip("/") or ".", dir_fd=root, follow_symlinks=False).st_ino == inode
    except (FileNotFoundError, NotADirectoryError):
        return False
