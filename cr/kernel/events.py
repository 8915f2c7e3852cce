"""Descriptors for events: timerfd_create(2), signalfd(2), inotify(7), fanotify(7), epoll(7)."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import struct

from cr.kernel.libc import syscall

TFD_TIMER_ABSTIME = 1
_TFD_IOC_SET_TICKS = 0x40085400  # _IOW('T', 0, u64)
_INOTIFY_IOC_SETNEXTWD = 0x40044900  # _IOW('I', 0, s32)
EPOLL_CTL_ADD = 1


def timerfd_create(clock: int, flags: int) -> int:
    return syscall("timerfd_create", 283, clock, flags | os.O_CLOEXEC)


def timerfd_settime(fd: int, flags: int, value: tuple[int, int], interval: tuple[int, int]) -> None:
    """Both times as (seconds, nanoseconds); a value of zero disarms."""
    record = struct.pack("<4q", *interval, *value)
    syscall("timerfd_settime", 286, fd, flags, record, None)


def timerfd_set_ticks(fd: int, ticks: int) -> None:
    """The number of expirations that the next read(2) tells; needs CONFIG_CHECKPOINT_RESTORE."""
    fcntl.ioctl(fd, _TFD_IOC_SET_TICKS, struct.pack("<Q", ticks))


def signalfd(mask: int, flags: int) -> int:
    """`mask`: bit N - 1 for signal N."""
    return syscall("signalfd4", 289, -1, struct.pack("<Q", mask), 8, flags | os.O_CLOEXEC)


def inotify_init(flags: int) -> int:
    return syscall("inotify_init1", 294, flags | os.O_CLOEXEC)


def inotify_add_watch(fd: int, path: str | bytes, mask: int) -> int:
    """The new watch descriptor."""
    return syscall("inotify_add_watch", 254, fd, os.fsencode(path), mask)


def inotify_rm_watch(fd: int, wd: int) -> None:
    syscall("inotify_rm_watch", 255, fd, wd)


def inotify_set_next_watch(fd: int, wd: int) -> None:
    """The number that the next watch gets; needs CONFIG_CHECKPOINT_RESTORE."""
    fcntl.ioctl(fd, _INOTIFY_IOC_SETNEXTWD, wd)


def fanotify_init(flags: int, event_flags: int) -> int:
    return syscall("fanotify_init", 300, flags, event_flags)


def fanotify_mark(fd: int, flags: int, mask: int, path: str | bytes) -> None:
    syscall("fanotify_mark", 301, fd, flags, mask, -100, os.fsencode(path))


def epoll_add(epoll: int, fd: int, events: int, data: int) -> None:
    """EPOLL_CTL_ADD; `data` is the 64-bit word that epoll_wait(2) gives back."""
    syscall("epoll_ctl", 233, epoll, EPOLL_CTL_ADD, fd, epoll_record(events, data))


def epoll_record(events: int, data: int) -> bytes:
    """struct epoll_event."""
    return struct.pack("<IQ", events, data)  # packed on x86-64


def pending(fd: int) -> int:
    """Bytes that can be read (FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, 0x541B, count)
    return count[0]


def epoll_slot(epoll: int, fd: int, index: int) -> ctypes.Array[ctypes.c_char]:
    """struct kcmp_epoll_slot: the watch number `index` of those that `epoll` has for descriptor `fd`."""
    return ctypes.create_string_buffer(struct.pack("<III", epoll, fd, index), 12)
