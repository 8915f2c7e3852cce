"""userfaultfd(2) for workloads: contexts, what a page's state is, touching pages from a thread."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import re
import struct
import threading
from collections.abc import Callable

PAGE = mmap.PAGESIZE
MISSING, PROTECT, MINOR = 1, 2, 4
FORK, WP_UNPOPULATED, POISON, WP_ASYNC, MINOR_SHMEM = 1 << 1, 1 << 13, 1 << 14, 1 << 15, 1 << 10
WP_SHMEM = 1 << 12
USER_MODE_ONLY = 1
PAGEFAULT = 0x12
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]


def memory(pages: int, fd: int = -1, *, shared: bool = True) -> int:
    """The address of new memory, or of a file, with guard pages around so that nothing merges with it."""
    flags = (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE) if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    whole = libc.mmap(None, (pages + 2) * PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    return int(libc.mmap(whole + PAGE, pages * PAGE, 3, flags | 0x10, fd, 0))


class Context:
    """A userfaultfd."""

    def __init__(self, features: int = 0, flags: int = os.O_CLOEXEC | os.O_NONBLOCK, fd: int = -1) -> None:
        if fd >= 0:
            self.fd = fd
            return
        self.fd = libc.syscall(323, flags)
        if self.fd < 0 and ctypes.get_errno() == errno.EPERM:
            device = os.open("/dev/userfaultfd", os.O_RDWR)
            self.fd = fcntl.ioctl(device, 0xAA00, flags)
            os.close(device)
        self._ioctl(0xC018AA3F, 0xAA, features, 0)

    def _ioctl(self, number: int, *words: int) -> None:
        fcntl.ioctl(self.fd, number, bytearray(struct.pack(f"<{len(words)}Q", *words)))

    def register(self, start: int, pages: int, modes: int) -> None:
        self._ioctl(0xC020AA00, start, pages * PAGE, modes, 0)

    def copy(self, page: int, content: bytes, *, protect: bool = False, size: int = PAGE) -> None:
        source = memory(size // PAGE)
        ctypes.memmove(source, content.ljust(size, b"\0"), size)
        self._ioctl(0xC028AA03, page, source, size, 2 if protect else 0, 0)
        libc.munmap(ctypes.c_void_p(source), size)

    def zero(self, page: int) -> None:
        self._ioctl(0xC020AA04, page, PAGE, 0, 0)

    def poison(self, page: int) -> None:
        self._ioctl(0xC020AA08, page, PAGE, 0, 0)

    def protect(self, page: int, *, on: bool = True, size: int = PAGE) -> None:
        self._ioctl(0xC018AA06, page, size, int(on))

    def map_again(self, page: int) -> None:
        self._ioctl(0xC020AA07, page, PAGE, 0, 0)

    def events(self) -> list[tuple[int, int, int]]:
        """(kind, flags or descriptor, address) of each."""
        try:
            data = os.read(self.fd, 32 * 16)
        except BlockingIOError:
            return []
        return [struct.unpack_from("<B7xQQ", data, at) for at in range(0, len(data), 32)]

    def wait_for(self, count: int) -> list[int]:
        """The pages of so many faults, ascending."""
        found: list[int] = []
        while len(found) < count:
            found += [address & -PAGE for _, _, address in self.events()]
        return sorted(found)

    def features(self) -> str:
        with open(f"/proc/self/fdinfo/{self.fd}") as file:
            return next(line for line in file.read().splitlines() if line.startswith("API"))


def modes(start: int) -> str:
    """The registration that the kernel shows of the mapping at `start`, with its end."""
    with open("/proc/self/smaps") as file:
        paragraph = re.split(rf"(?m)^(?={start:x}-)", file.read())[1]
    flags = re.findall(r"VmFlags:(.*)", paragraph)[0].split()
    return paragraph.split()[0] + "".join(sorted({"um", "uw", "ui"} & set(flags)))


def states(start: int, pages: int) -> list[str]:
    """Of each page: p: there, s: a mark instead, w: protected, z: the page of zeros."""
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(start // PAGE * 8)
        words = struct.unpack(f"<{pages}Q", file.read(8 * pages))
    return ["p" * (w >> 63) + "s" * (w >> 62 & 1) + "w" * (w >> 57 & 1) for w in words]


class Touch(threading.Thread):
    """Reads a byte of a page, or writes one, in a thread of its own."""

    def __init__(self, page: int, write: bytes = b"") -> None:
        super().__init__(daemon=True)
        self.page, self.to_write, self.byte = page, write, -1
        self.start()

    def run(self) -> None:
        own = ctypes.create_string_buffer(self.to_write or b"?", 1)
        if self.to_write:
            ctypes.memmove(self.page, own, 1)
        else:
            ctypes.memmove(own, self.page, 1)
        self.byte = own.raw[0]

    def result(self) -> int:
        self.join(10)
        return self.byte


def unreadable(page: int) -> bool:
    """Whether the kernel itself fails to read it (EFAULT)."""
    reader, writer = os.pipe()
    try:
        return libc.write(writer, page, 1) < 0 and ctypes.get_errno() == errno.EFAULT
    finally:
        os.close(reader)
        os.close(writer)


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        pass
