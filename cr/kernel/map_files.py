"""/proc/PID/map_files: the open file behind a mapping (proc(5))."""

from __future__ import annotations

import ctypes
import mmap
import os


def open_mapping(pid: int, start: int, end: int, flags: int) -> int:
    """A descriptor of the file that [start, end) of task `pid` maps."""
    return os.open(f"/proc/{pid}/map_files/{start:x}-{end:x}", flags | os.O_CLOEXEC)


def shared_anonymous(size: int, huge: int = 0) -> int:
    """A descriptor of a new anonymous shared memory object, as mmap(2) MAP_SHARED | MAP_ANONYMOUS makes it.

    `huge`: flags of mmap(2) for huge pages (MAP_HUGETLB, MAP_HUGE_2MB, ...), of which `size` is a multiple.
    """
    with mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | huge) as memory:
        anchor = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(anchor)
        length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            return open_mapping(os.getpid(), start, start + length, os.O_RDWR)
        finally:
            del anchor
