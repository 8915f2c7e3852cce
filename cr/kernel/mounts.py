"""Mounts: mount(2) and its children, and opening paths that stay below a root (openat2).

Sources: mount(2), umount2(2), pivot_root(2), open_tree(2), move_mount(2), mount_setattr(2), fsopen(2),
openat2(2); the numbers are those of linux/mount.h, linux/openat2.h and asm/unistd_64.h.
"""

from __future__ import annotations

import ctypes
import os

from cr.kernel.libc import syscall

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_POSIXACL = 0x10000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_I_VERSION = 0x800000
MS_STRICTATIME = 0x1000000
MS_LAZYTIME = 0x2000000

MNT_DETACH = 0x2

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
AT_NO_AUTOMOUNT = 0x800

OPEN_TREE_CLONE = 0x1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOVE_MOUNT_SET_GROUP = 0x100
MOVE_MOUNT_BENEATH = 0x200

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

RESOLVE_NO_XDEV = 0x1
RESOLVE_NO_MAGICLINKS = 0x2
RESOLVE_NO_SYMLINKS = 0x4
RESOLVE_BENEATH = 0x8
RESOLVE_IN_ROOT = 0x10


class MountAttr(ctypes.Structure):
    """struct mount_attr of linux/mount.h (32 bytes)."""

    _fields_ = [
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    ]


class OpenHow(ctypes.Structure):
    """struct open_how of linux/openat2.h (24 bytes)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def _c(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(source: str | None, target: str, fstype: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2): attach a filesystem, or change one that is there (by `flags`)."""
    syscall("mount", 165, _c(source), _c(target), _c(fstype), flags, _c(data))


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2): detach the topmost mount at `target`."""
    syscall("umount2", 166, _c(target), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2): make `new_root` the root of this mount namespace."""
    syscall("pivot_root", 155, _c(new_root), _c(put_old))


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """open_tree(2): a descriptor of a mount; with OPEN_TREE_CLONE of a detached copy of it."""
    return syscall("open_tree", 428, dir_fd, _c(path), flags)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2): attach a detached mount, or move one."""
    syscall("move_mount", 429, from_fd, _c(from_path), to_fd, _c(to_path), flags)


def attach(tree_fd: int, target_fd: int) -> None:
    """Attach the detached mount `tree_fd` over the place that `target_fd` (O_PATH) stands for."""
    move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def mount_setattr(
    dir_fd: int, path: str, flags: int, attr_set: int = 0, attr_clr: int = 0, propagation: int = 0
) -> None:
    """mount_setattr(2): set and clear MOUNT_ATTR_* and propagation of a mount or (AT_RECURSIVE) a tree."""
    attr = MountAttr(attr_set, attr_clr, propagation, 0)
    syscall("mount_setattr", 442, dir_fd, _c(path), flags, ctypes.byref(attr), ctypes.sizeof(attr))


def mount_idmapped(tree_fd: int, userns_fd: int, recursive: bool) -> None:
    """mount_setattr(2), MOUNT_ATTR_IDMAP: show a detached mount through the id mappings of a user namespace."""
    attr = MountAttr(MOUNT_ATTR_IDMAP, 0, 0, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", 442, tree_fd, b"", flags, ctypes.byref(attr), ctypes.sizeof(attr))


def fsopen(fstype: str, flags: int = 1) -> int:
    """fsopen(2): a configuration context of a new filesystem (flags 1: close-on-exec)."""
    return syscall("fsopen", 430, _c(fstype), flags)


def fsconfig(fs_fd: int, command: int, key: str | None = None, value: str | None = None, aux: int = 0) -> None:
    """fsconfig(2): one parameter, or the command that makes the superblock."""
    syscall("fsconfig", 431, fs_fd, command, _c(key), _c(value), aux)


def fsmount(fs_fd: int, flags: int = 1, attr: int = 0) -> int:
    """fsmount(2): a detached mount of the configured filesystem (flags 1: close-on-exec)."""
    return syscall("fsmount", 432, fs_fd, flags, attr)


def openat2(dir_fd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): open `path` below `dir_fd` under RESOLVE_* rules.  The descriptor is close-on-exec."""
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return syscall("openat2", 437, dir_fd, _c(path), ctypes.byref(how), ctypes.sizeof(how))


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process whose root is `root_fd` would: no symlink and no ".." leads out of it."""
    return openat2(root_fd, path, flags, mode, RESOLVE_IN_ROOT)
