"""userfaultfd(2) for pages that are not there yet: whoever touches one waits until we bring it.

Documentation/admin-guide/mm/userfaultfd.rst; ioctl_userfaultfd(2).
"""

from __future__ import annotations

import fcntl
import os
import struct
from typing import NamedTuple

from cr.kernel.vm import PAGE_SIZE

FAULT, FORK, REMAP, REMOVE, UNMAP = range(0x12, 0x17)
"""the kinds of events"""
NEW = 0xAA00
"""ioctl of /dev/userfaultfd: a userfaultfd for the caller's memory, without privileges (since 6.1)"""
DEVICE = "/dev/userfaultfd"

_API = 0xAA
_EVENTS = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6  # fork, remap, remove (madvise), unmap
_UFFDIO_API = 0xC018AA3F
_UFFDIO_REGISTER = 0xC020AA00
_UFFDIO_WAKE = 0x8010AA02
_UFFDIO_COPY = 0xC028AA03
_UFFDIO_ZEROPAGE = 0xC020AA04
_UFFDIO_POISON = 0xC020AA08
_MODE_MISSING = 1
_MESSAGE = struct.Struct("<B7xQQQ")
_MOST = 64


class Event(NamedTuple):
    """FAULT: `address`.  FORK: `fd`, of the child.  REMAP: from `first` to `second`, `third` bytes.  Others: a span."""

    kind: int
    first: int
    second: int
    third: int

    @property
    def address(self) -> int:
        """The page that is waited for."""
        return self.second & -PAGE_SIZE

    @property
    def fd(self) -> int:
        return self.first & 0xFFFFFFFF


def shake_hands(fd: int) -> None:
    """Make a new userfaultfd report forks, mremap(2), madvise(2) and munmap(2) too; needs CAP_SYS_PTRACE."""
    fcntl.ioctl(fd, _UFFDIO_API, bytearray(struct.pack("<3Q", _API, _EVENTS, 0)))


def register(fd: int, start: int, end: int) -> None:
    """From now on, missing pages of these mappings are ours to bring."""
    fcntl.ioctl(fd, _UFFDIO_REGISTER, bytearray(struct.pack("<4Q", start, end - start, _MODE_MISSING, 0)))


def events(fd: int) -> list[Event]:
    """What has happened; nothing where nothing has."""
    try:
        data = os.read(fd, _MESSAGE.size * _MOST)
    except BlockingIOError:
        return []
    return [Event(*words) for words in _MESSAGE.iter_unpack(data)]


def copy(fd: int, target: int, source: int, size: int) -> tuple[int, int]:
    """Bring bytes from our `source`; (bytes done, errno or 0): EEXIST where a page is there already, EAGAIN where
    an event has to be read first, ENOENT where nothing of ours is mapped, ESRCH where the memory is gone."""
    argument = bytearray(struct.pack("<4Qq", target, source, size, 0, 0))
    return _bring(fd, _UFFDIO_COPY, argument, "<q", 32)


def zero(fd: int, target: int, size: int) -> tuple[int, int]:
    """Bring empty pages; as `copy`."""
    return _bring(fd, _UFFDIO_ZEROPAGE, bytearray(struct.pack("<3Qq", target, size, 0, 0)), "<q", 24)


def poison(fd: int, target: int, size: int) -> tuple[int, int]:
    """Whoever touches these pages from now on gets SIGBUS (since 6.6); as `copy`."""
    return _bring(fd, _UFFDIO_POISON, bytearray(struct.pack("<3Qq", target, size, 0, 0)), "<q", 24)


def _bring(fd: int, request: int, argument: bytearray, form: str, at: int) -> tuple[int, int]:
    code = 0
    try:
        fcntl.ioctl(fd, request, argument)
    except OSError as error:
        code = error.errno or 0
    done = struct.unpack_from(form, argument, at)[0]
    return max(done, 0), code


def wake(fd: int, start: int, size: int) -> None:
    """Let those who wait for these pages look again."""
    fcntl.ioctl(fd, _UFFDIO_WAKE, struct.pack("<2Q", start, size))
