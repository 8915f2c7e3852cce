"""Private and shared memory that, after the restore, is forked, moved, dropped, unmapped and mapped anew at once.

What has not been touched since the restore may still be on its way then.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from lib import workload

PAGE = 4096
PAGES = 512
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
FIXED, MAYMOVE, DONTNEED = 0x10, 1, 4
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def area() -> int:
    """PAGES pages, each with its number, but for every eighth, which is left empty."""
    start = libc.mmap(None, PAGES * PAGE, 3, ANONYMOUS, -1, 0)
    for page in range(PAGES):
        if page % 8:
            ctypes.memmove(start + page * PAGE, b"page %6d" % page, 11)
    return start


def wrong(start: int, first: int = 0, last: int = PAGES) -> str:
    """What is not as it was made."""
    for page in range(first, last):
        expected = b"page %6d" % page if page % 8 else bytes(11)
        if (found := ctypes.string_at(start + page * PAGE, 11)) != expected:
            return f"{page}: {found!r}"
    return ""


def in_child(start: int) -> int:
    """A child that finds all of it; its exit status."""
    pid = os.fork()
    if pid == 0:
        os._exit(1 if wrong(start) else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


with workload() as check:
    plain, forked, moved, dropped, gone = (area() for _ in range(5))
    shared = mmap.mmap(-1, 64 * PAGE)
    shared[:6] = b"shared"
    check.wait()
    check.equal(wrong(plain, 300, 301), "", "one page")
    check.equal(in_child(forked), 0, "a child's view")
    new = libc.mremap(moved, PAGES * PAGE, 2 * PAGES * PAGE, MAYMOVE, None)
    check.equal(wrong(new), "", "moved memory")
    libc.madvise(dropped, PAGES // 2 * PAGE, DONTNEED)
    check.equal(ctypes.string_at(dropped, PAGES // 2 * PAGE).count(0), PAGES // 2 * PAGE, "dropped memory")
    check.equal(wrong(dropped, PAGES // 2), "", "what was not dropped")
    libc.munmap(gone, PAGES * PAGE)
    libc.mmap(gone, PAGES * PAGE, 3, ANONYMOUS | FIXED, -1, 0)
    check.equal(ctypes.string_at(gone, PAGES * PAGE).count(0), PAGES * PAGE, "memory mapped anew")
    check.equal(wrong(plain), "", "what was only there")
    check.equal(wrong(forked), "", "the parent's view")
    check.equal(shared[:6], b"shared", "shared memory")
