"""Paths below a container's root, found and made without ever leaving it.

All go through openat2(RESOLVE_IN_ROOT): a symlink in a hostile rootfs leads only to another place in it.
"""

from __future__ import annotations

import errno
import os
import stat

from cr.kernel.mounts import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, open_in_root, openat2
from runtime.errors import ContainerError

_MAX_LINKS = 40


def open_path(root_fd: int, path: str) -> int:
    """An O_PATH descriptor of an existing path; symlinks are followed within the root."""
    return open_in_root(root_fd, path, os.O_PATH)


def exists(root_fd: int, path: str) -> bool:
    """Whether there is anything at `path`."""
    try:
        os.close(open_path(root_fd, path))
    except OSError:
        return False
    return True


def open_plain(root_fd: int, path: str) -> int:
    """The same for a path that must not have any symlink in it (places where proc and sysfs go)."""
    return openat2(root_fd, path, os.O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)


def ensure(root_fd: int, path: str, directory: bool, links: int = 0) -> int:
    """An O_PATH descriptor of `path`, which is made (with its parents) as a directory or an empty file."""
    try:
        return open_path(root_fd, path)
    except FileNotFoundError:
        if links > _MAX_LINKS:
            raise ContainerError(f"too many symbolic links at {path} in the container's root") from None
    parent, name = os.path.split(os.path.normpath("/" + path))
    parent_fd = ensure(root_fd, parent, True, links + 1)
    try:
        link = _link_at(parent_fd, name)
        if link is not None:
            return ensure(root_fd, os.path.join(_path_in_root(root_fd, parent_fd), link), directory, links + 1)
        _make(parent_fd, name, directory)
    finally:
        os.close(parent_fd)
    return open_path(root_fd, path)


def _make(parent_fd: int, name: str, directory: bool) -> None:
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o755, dir_fd=parent_fd))
    except FileExistsError:
        return


def _link_at(parent_fd: int, name: str) -> str | None:
    """The target of a dangling symlink, or None where there is none."""
    try:
        return os.readlink(name, dir_fd=parent_fd)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def _path_in_root(root_fd: int, fd: int) -> str:
    """Where a descriptor stands, as a path from the root."""
    root = os.readlink(f"/proc/self/fd/{root_fd}")
    path = os.readlink(f"/proc/self/fd/{fd}")
    return "/" + os.path.relpath(path, root)


def inside(root_fd: int, fd: int) -> str:
    """The real path, in the container, of a descriptor below its root."""
    return os.path.normpath(_path_in_root(root_fd, fd))


def resolved(root: str, path: str) -> str:
    """Where the symlinks of `path` lead in a root, as a path from that root; `path` itself if there is nothing."""
    try:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return path
    try:
        fd = open_path(root_fd, path)
    except OSError:
        return path
    else:
        found = inside(root_fd, fd)
        os.close(fd)
        return found
    finally:
        os.close(root_fd)


def is_directory(fd: int) -> bool:
    """Whether a descriptor stands for a directory."""
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def proc_path(fd: int) -> str:
    """The name of a descriptor for calls that want a path; needs the host's /proc."""
    return f"/proc/self/fd/{fd}"
