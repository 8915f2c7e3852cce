"""Files: what /proc tells of them, event descriptors, locks."""

from __future__ import annotations

import errno
import os

from cr.check.feature import EXPERIMENTAL, NEEDED, Feature, apart, calls, lacking


def _kcmp_epoll() -> None:
    import select

    from cr.kernel.events import epoll_slot
    from cr.kernel.pidfd import KCMP_EPOLL_TFD, kcmp

    read, write = os.pipe()
    with select.epoll() as epoll:
        epoll.register(read, select.EPOLLIN)
        same = kcmp(os.getpid(), os.getpid(), KCMP_EPOLL_TFD, read, epoll_slot(epoll.fileno(), read, 0))
    os.close(read)
    os.close(write)
    if same:
        raise lacking("kcmp does not find the files that epoll watches")


def _timerfd() -> None:
    from cr.kernel.events import timerfd_create, timerfd_set_ticks

    fd = timerfd_create(1, 0)
    try:
        timerfd_set_ticks(fd, 1)
    finally:
        os.close(fd)


def _fdinfo_lock() -> None:
    import fcntl

    fd = os.memfd_create("woodfrog-check")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with open(f"/proc/self/fdinfo/{fd}") as info:
            if "lock:" not in info.read():
                raise lacking("/proc/PID/fdinfo does not show locks")
    finally:
        os.close(fd)


def _mnt_id() -> None:
    with open("/proc/self/status") as file, open(f"/proc/self/fdinfo/{file.fileno()}") as info:
        if "mnt_id:" not in info.read():
            raise lacking("/proc/PID/fdinfo does not say mount ids")


def _autofs() -> None:
    """An autofs mount must tell the inode of the pipe to its daemon."""
    from cr.kernel.mounts import MS_PRIVATE, MS_REC, mount
    from cr.kernel.namespaces import CLONE_NEWNS, unshare

    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    os.setpgid(0, 0)  # ours may be led outside of our pid namespace, and have no number here
    _, writing = os.pipe()
    options = f"fd={writing},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
    mount("woodfrog", "/dev", "autofs", 0, options)
    with open("/proc/self/mountinfo") as file:
        if not any(" - autofs " in line and "pipe_ino=" in line for line in file):
            raise lacking("/proc/PID/mountinfo does not tell the pipe of an autofs mount")


FEATURES = (
    Feature("openat2", calls("openat2", -1, None, None, 0, expected=(errno.EINVAL, errno.EFAULT)), NEEDED),
    Feature("mnt_id", _mnt_id, NEEDED),
    Feature("kcmp_epoll", _kcmp_epoll),
    Feature("timerfd", _timerfd),
    Feature("fdinfo_lock", _fdinfo_lock),
    Feature("autofs", apart(_autofs), EXPERIMENTAL),
)
