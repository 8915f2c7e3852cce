"""pidfd_open(2), pidfd_getfd(2), pidfd_send_signal(2), kcmp(2)."""

from __future__ import annotations

import errno
import os

from cr.kernel.libc import syscall

PIDFD_THREAD = os.O_EXCL

KCMP_FILE = 0
KCMP_VM = 1
KCMP_FILES = 2
KCMP_FS = 3
KCMP_SIGHAND = 4
KCMP_IO = 5
KCMP_SYSVSEM = 6
KCMP_EPOLL_TFD = 7


def pidfd_open(pid: int, flags: int = 0) -> int:
    return syscall("pidfd_open", 434, pid, flags)


def pidfd_of_thread(tid: int) -> int:
    """Of a process by its pid, or of one thread by its tid (PIDFD_THREAD, since Linux 6.9)."""
    try:
        return pidfd_open(tid)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
    return pidfd_open(tid, PIDFD_THREAD)


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A descriptor of ours (close-on-exec) for the open file behind `fd` of the other process."""
    return syscall("pidfd_getfd", 438, pidfd, fd, 0)


def pidfd_send_signal(pidfd: int, signo: int) -> None:
    syscall("pidfd_send_signal", 424, pidfd, signo, None, 0)


def kcmp(pid1: int, pid2: int, kind: int, index1: int = 0, index2: object = 0) -> int:
    """0: same kernel object; 1 and 2: an order among objects; 3: different, no order."""
    return syscall("kcmp", 312, pid1, pid2, kind, index1, index2)
