"""userfaultfd(2) as a program has it: features, the ranges that are registered with it, the states of pages.

Documentation/admin-guide/mm/userfaultfd.rst; ioctl_userfaultfd(2).
"""

from __future__ import annotations

import fcntl
import struct

USER_MODE_ONLY = 1
"""flag of the system call: faults of the kernel's own accesses fail"""
INITIALIZED = 1 << 31
"""set among the features that fdinfo shows once hands were shaken; not to be asked for"""
FEATURE_FORK, FEATURE_SIGBUS = 1 << 1, 1 << 7
FLAGS = {"um": 1, "uw": 2, "ui": 4}
"""VmFlags of smaps -> UFFDIO_REGISTER_MODE_MISSING, _WP, _MINOR"""

_API = 0xAA
_UFFDIO_API = 0xC018AA3F
_UFFDIO_REGISTER = 0xC020AA00
_UFFDIO_UNREGISTER = 0x8010AA01
_UFFDIO_WRITEPROTECT = 0xC018AA06
_UFFDIO_CONTINUE = 0xC020AA07
_PROTECT = 1


def shake_hands(fd: int, features: int) -> None:
    """UFFDIO_API; OSError EINVAL where the kernel lacks a feature, EPERM where one takes CAP_SYS_PTRACE."""
    fcntl.ioctl(fd, _UFFDIO_API, bytearray(struct.pack("<3Q", _API, features & ~INITIALIZED, 0)))


def register(fd: int, start: int, end: int, modes: int) -> None:
    """Nothing changes where the range is registered with `fd` for these modes already; OSError EBUSY where it is
    with another userfaultfd, EINVAL where nothing is mapped, ENOMEM where the memory of `fd` is gone."""
    fcntl.ioctl(fd, _UFFDIO_REGISTER, bytearray(struct.pack("<4Q", start, end - start, modes, 0)))


def unregister(fd: int, start: int, end: int) -> None:
    """Whoever waits for a page of it goes on."""
    fcntl.ioctl(fd, _UFFDIO_UNREGISTER, struct.pack("<2Q", start, end - start))


def protect(fd: int, start: int, end: int) -> None:
    """Writes to these pages are faults from now on (or marks, with UFFD_FEATURE_WP_ASYNC)."""
    fcntl.ioctl(fd, _UFFDIO_WRITEPROTECT, bytearray(struct.pack("<3Q", start, end - start, _PROTECT)))


def map_again(fd: int, start: int, end: int) -> None:
    """Map pages that are in the page cache, in a range registered for minor faults."""
    while start < end:
        argument = bytearray(struct.pack("<3Qq", start, end - start, 0, 0))
        try:
            fcntl.ioctl(fd, _UFFDIO_CONTINUE, argument)
        except BlockingIOError:
            start += max(struct.unpack_from("<q", argument, 24)[0], 0)
            continue
        return
