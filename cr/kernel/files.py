"""openat2(2), open_by_handle_at(2), fcntl(2) and what else Python's os lacks for files."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from cr.kernel.ids import capabilities_kept
from cr.kernel.libc import syscall

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

F_SETSIG, F_GETSIG = 10, 11
F_SETOWN_EX, F_GETOWN_EX = 15, 16
F_GETOWNER_UIDS = 17
F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP = 0, 1, 2
O_PATH = os.O_PATH
O_TMPFILE_BIT = os.O_TMPFILE & ~os.O_DIRECTORY
O_ASYNC = getattr(os, "O_ASYNC", 0o20000)
STATUS_FLAGS = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT | os.O_NOATIME | O_ASYNC
"""what fcntl(2) F_SETFL can change"""
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400
AT_FDCWD = -100
_AT_HANDLE_FID = 0x200

_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2

PROC_SUPER_MAGIC = 0x9FA0
HUGETLBFS_MAGIC = 0x958458F6
SECRETMEM_MAGIC = 0x5345434D


def open_in_root(root_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open a path as a process whose root directory is `root_fd` would; close-on-exec."""
    if flags & os.O_PATH:  # openat2(2) refuses flags that open(2) would ignore
        flags &= os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
    how = struct.pack("<QQQ", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT)
    return syscall("openat2", 437, root_fd, os.fsencode(path), ctypes.create_string_buffer(how, 24), 24)


def reopen(fd: int, flags: int) -> int:
    """Another open file description of the same file, even where it has no name any more; close-on-exec."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def mount_id(fd: int) -> int:
    """The id, as in mountinfo, of the mount that one of our descriptors was reached through."""
    with open(f"/proc/thread-self/fdinfo/{fd}") as info:
        return next(int(line.split()[1]) for line in info if line.startswith("mnt_id:"))


def access_mode(flags: int) -> int:
    """O_RDONLY, O_WRONLY or O_RDWR."""
    return flags & os.O_ACCMODE


def set_status_flags(fd: int, flags: int) -> None:
    """Give an open file description the status flags (O_APPEND, O_NONBLOCK, ...) that `flags` has."""
    now = fcntl.fcntl(fd, fcntl.F_GETFL)
    wanted = flags & STATUS_FLAGS
    if now & STATUS_FLAGS != wanted:
        fcntl.fcntl(fd, fcntl.F_SETFL, now & ~STATUS_FLAGS | wanted)


def link_file(fd: int, directory_fd: int, name: str | bytes) -> None:
    """Give the file behind a descriptor, which has another name still, one more name (linkat(2))."""
    source = f"/proc/self/fd/{fd}".encode()
    syscall("linkat", 265, AT_FDCWD, source, directory_fd, os.fsencode(name), AT_SYMLINK_FOLLOW)


def filesystem(fd: int) -> tuple[int, int]:
    """(magic number, block size) of the filesystem of an open file (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    syscall("fstatfs", 138, fd, buffer)
    kind, block_size = struct.unpack_from("<qq", buffer.raw)
    return kind & 0xFFFFFFFF, block_size


def open_by_handle(mount_fd: int, kind: int, handle: bytes, flags: int) -> int:
    """Open the file that a handle of the filesystem of `mount_fd` stands for; ESTALE where it is gone."""
    record = struct.pack("<Ii", len(handle), kind) + handle
    return syscall(
        "open_by_handle_at", 304, mount_fd, ctypes.create_string_buffer(record, len(record)), flags | os.O_CLOEXEC
    )


def handle_of(name: str, directory_fd: int, size: int) -> tuple[int, bytes] | None:
    """(type, handle) of a file, `size` bytes long, as fdinfo shows it; None where the kernel does not tell.

    With AT_HANDLE_FID (Linux 6.5) also where nothing can be opened by such a handle, as on overlayfs.
    """
    buffer = ctypes.create_string_buffer(struct.pack("<Ii", size, 0), 8 + size)
    mount = ctypes.c_int()
    try:
        arguments = directory_fd, os.fsencode(name), buffer, ctypes.byref(mount), _AT_HANDLE_FID
        syscall("name_to_handle_at", 303, *arguments)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.EOVERFLOW):
            return None
        raise
    length, kind = struct.unpack_from("<Ii", buffer.raw)
    return kind, buffer.raw[8 : 8 + length]


def set_owner(fd: int, kind: int, pid: int, uid: int, euid: int) -> None:
    """F_SETOWN_EX, on behalf of a task with these user ids: they decide whom the signals may reach."""
    own = os.getresuid()
    with capabilities_kept():
        syscall("setresuid", 117, uid, euid, own[1])  # of this thread alone: the C library would change all of them
        try:
            fcntl.fcntl(fd, F_SETOWN_EX, struct.pack("<ii", kind, pid))
        finally:
            syscall("setresuid", 117, *own)


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Free a part of a file, which reads as zeros afterwards (fallocate(2))."""
    syscall("fallocate", 285, fd, _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, offset, length)
