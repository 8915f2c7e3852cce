"""userfaultfd(2) as a tracker of written pages: asynchronous write protection.

The kernel itself resolves the faults of memory that is registered so, and PAGEMAP_SCAN tells which pages were written
since they were protected last (Documentation/admin-guide/mm/userfaultfd.rst, UFFD_FEATURE_WP_ASYNC, since 6.7).
Nobody ever waits for whoever holds the descriptor; when its last copy is closed, the kernel forgets everything.
"""

from __future__ import annotations

import errno
import fcntl
import struct

USER_MODE_ONLY = 1
"""flag of the system call: allowed without privileges, and enough where no fault is ever handed over"""

_API = 0xAA
_FEATURE_WP_UNPOPULATED = 1 << 13
_FEATURE_WP_ASYNC = 1 << 15
_UFFDIO_API = 0xC018AA3F  # _IOWR(0xAA, 0x3F, struct uffdio_api)
_UFFDIO_REGISTER = 0xC020AA00  # _IOWR(0xAA, 0x00, struct uffdio_register)
_REGISTER_MODE_WP = 1 << 1


def shake_hands(fd: int) -> None:
    """Make a new userfaultfd an asynchronous write tracker; OSError (EINVAL) where the kernel knows no such thing."""
    fcntl.ioctl(fd, _UFFDIO_API, bytearray(struct.pack("<3Q", _API, _FEATURE_WP_ASYNC | _FEATURE_WP_UNPOPULATED, 0)))


def register(fd: int, start: int, end: int) -> None:
    """Track the mappings of [start, end), private memory; twice does no harm."""
    fcntl.ioctl(fd, _UFFDIO_REGISTER, bytearray(struct.pack("<4Q", start, end - start, _REGISTER_MODE_WP, 0)))


def has_registered(fd: int, start: int, end: int) -> bool:
    """Whether a tracked mapping is so with `fd`, and not with another userfaultfd."""
    try:
        register(fd, start, end)
    except OSError as error:
        return error.errno != errno.EBUSY
    return True
