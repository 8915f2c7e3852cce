"""PAGEMAP_SCAN of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct

PAGE_IS_WPALLOWED = 1 << 0
PAGE_IS_WRITTEN = 1 << 1
PAGE_IS_FILE = 1 << 2
PAGE_IS_PRESENT = 1 << 3
PAGE_IS_SWAPPED = 1 << 4
PAGE_IS_PFNZERO = 1 << 5
PAGE_IS_HUGE = 1 << 6
PAGE_IS_SOFT_DIRTY = 1 << 7
PAGE_IS_GUARD = 1 << 8

_WP_MATCHING = 1 << 0  # write-protect what is found, where it is tracked; the rest is passed over

_SCAN = struct.Struct("<12Q")
_PAGEMAP_SCAN = 0xC0606610  # _IOWR('f', 16, struct pm_scan_arg)
_REGIONS = 2048

Run = tuple[int, int, int]
"""start, end (addresses), categories"""


def scan(
    fd: int, start: int, end: int, *, any_of: int, invert: int = 0, all_of: int = 0, report: int = 0, flags: int = 0
) -> list[Run]:
    """Runs of pages of [start, end) whose categories match; `report` says which categories are told apart.

    How far a scan came is told by the runs themselves: `walk_end` of the answer is that of the kernel's last full
    buffer of 512 runs, although it went on to the end after that (fs/proc/task_mmu.c, v6.18).
    """
    found: list[Run] = []
    buffer = ctypes.create_string_buffer(24 * _REGIONS)
    while start < end:
        argument = bytearray(
            _SCAN.pack(96, flags, start, end, 0, ctypes.addressof(buffer), _REGIONS, 0, invert, all_of, any_of, report)
        )
        try:
            count = fcntl.ioctl(fd, _PAGEMAP_SCAN, argument)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            raise
        found += struct.iter_unpack("<3Q", buffer.raw[: 24 * count])
        start = found[-1][1] if count == _REGIONS else end
    return found


def scan_with_guards(
    fd: int, start: int, end: int, *, any_of: int, invert: int, all_of: int, report: int = 0
) -> list[Run]:
    """`scan` that tells guard pages apart, where the kernel does (since 6.18; before, the category is unknown)."""
    try:
        return scan(fd, start, end, any_of=any_of, invert=invert, all_of=all_of, report=report | PAGE_IS_GUARD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return scan(fd, start, end, any_of=any_of, invert=invert, all_of=all_of, report=report)


def protect(fd: int, start: int, end: int, *, any_of: int) -> None:
    """From now on, these pages of tracked mappings (see cr.kernel.userfaultfd) are PAGE_IS_WRITTEN once written to.

    The runs are asked for although nobody needs them: without, the kernel does not look at categories, and puts a
    marker at each page that is not there, which is PAGE_IS_SWAPPED afterwards (fs/proc/task_mmu.c, v6.18).
    """
    scan(fd, start, end, any_of=any_of, flags=_WP_MATCHING)


MARKED_PROTECTED, MARKED_POISONED = 1, 2
"""what stands for a page that is not there (PTE markers, include/linux/swapops.h, v6.18): bits of `markers`"""
_MARKER_TYPE = 31  # the last swap type
_TYPE_BITS, _ENTRY_BITS = 5, 55


def markers(fd: int, start: int, end: int) -> list[int]:
    """The marker of each page of [start, end), all PAGE_IS_SWAPPED; 0: it is really in swap.  Needs CAP_SYS_ADMIN."""
    size = mmap.PAGESIZE
    content = os.pread(fd, (end - start) // size * 8, start // size * 8)
    entries = (word & (1 << _ENTRY_BITS) - 1 for (word,) in struct.iter_unpack("<Q", content))
    return [entry >> _TYPE_BITS if entry & (1 << _TYPE_BITS) - 1 == _MARKER_TYPE else 0 for entry in entries]


def clear_soft_dirty(pid: int | str) -> None:
    """No page is PAGE_IS_SOFT_DIRTY until it is written to (Documentation/admin-guide/mm/soft-dirty.rst)."""
    fd = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"4")
    finally:
        os.close(fd)


def has_soft_dirty() -> bool:
    """Whether this kernel has soft-dirty bits: a page just written has one."""
    page = ctypes.create_string_buffer(b"\1", 2 * mmap.PAGESIZE)
    start = ctypes.addressof(page) & -mmap.PAGESIZE
    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return bool(scan(fd, start, start + mmap.PAGESIZE, any_of=PAGE_IS_SOFT_DIRTY))
    finally:
        os.close(fd)
