"""The container's root: propagation, the root's own mount, then pivot_root (or chroot) into it."""

from __future__ import annotations

import errno
import os

from cr.kernel import mounts as m
from runtime.errors import ContainerError, reason
from runtime.mount_options import PROPAGATION


def isolate(rootfs: str, propagation: str) -> int:
    """Cut the tie to the host's mounts as configured, bind the root onto itself; an O_PATH descriptor of it.

    Default: slave, recursively, so that what the host mounts below a shared bind mount later is seen.
    """
    flag = PROPAGATION[propagation] if propagation else m.MS_SLAVE
    if flag & (m.MS_UNBINDABLE | m.MS_PRIVATE):
        flag = m.MS_PRIVATE  # the root must be bindable until it is in place
    m.mount(None, "/", None, flag | m.MS_REC)
    _make_parent_private(rootfs)
    m.mount(rootfs, rootfs, "bind", m.MS_BIND | m.MS_REC)
    return os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _make_parent_private(rootfs: str) -> None:
    """pivot_root refuses a root whose parent mount is shared."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        lines = [line.split(" ") for line in stream]
    real = os.path.realpath(rootfs)
    best = max(
        (fields for fields in lines if _holds(_plain(fields[4]), real)),
        key=lambda fields: len(_plain(fields[4])),
    )
    if any(word.startswith("shared:") for word in best[6:]):
        m.mount(None, _plain(best[4]), None, m.MS_PRIVATE)


def _holds(mountpoint: str, path: str) -> bool:
    return path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/")


def _plain(field: str) -> str:
    """Undo mountinfo's octal escapes."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field


def enter(root_fd: int, pivot: bool, propagation: str) -> None:
    """Make the directory of `root_fd` the root of this process and of its mount namespace."""
    os.fchdir(root_fd)
    if pivot:
        _pivot()
    else:
        _hide_kernel_filesystems(os.readlink(f"/proc/self/fd/{root_fd}"))
        m.mount(".", "/", None, m.MS_MOVE)
        os.chroot(".")
    os.chdir("/")
    if propagation:
        m.mount(None, "/", None, PROPAGATION[propagation])


def _hide_kernel_filesystems(root: str) -> None:
    """Without pivot_root the host's mounts stay below us: a whole procfs among them would let a user namespace
    inside mount one of its own, unmasked.  So each procfs and sysfs outside of the root goes, or is covered.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        lines = [line.split(" ") for line in stream]
    places = [_plain(f[4]) for f in lines if f[f.index("-", 6) + 1] in ("proc", "sysfs")]
    for place in reversed([place for place in places if not _holds(root, place)]):
        m.mount(None, place, None, m.MS_PRIVATE | m.MS_REC)
        try:
            m.umount2(place, m.MNT_DETACH)
        except OSError as err:
            if err.errno not in (errno.EINVAL, errno.EPERM):
                raise
            m.mount("tmpfs", place, "tmpfs")  # locked together with others by a user namespace


def _pivot() -> None:
    """pivot_root(".", "."): the old root lies over the new one, and is taken off (pivot_root(2), notes)."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        m.pivot_root(".", ".")
    except OSError as err:
        raise ContainerError(f"pivot_root failed ({reason(err)}); a root on a ramdisk needs --no-pivot") from err
    os.fchdir(old)
    m.mount(None, ".", None, m.MS_SLAVE | m.MS_REC)
    m.umount2(".", m.MNT_DETACH)
    os.close(old)


def make_readonly(root_fd: int) -> None:
    """The root's mount becomes read-only; mounts below it stay as they are."""
    m.mount_setattr(root_fd, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
