"""Handles faults of huge pages (MAP_HUGETLB), private and, with "shared", shared ones: missing, protected, marked."""

from __future__ import annotations

import ctypes
import mmap
import sys

from lib import workload
from uffd import MISSING, PAGE, PROTECT, Context, Touch, libc, modes, states

HUGE, COUNT = 2 << 20, 4
MAP_HUGETLB, FEATURES = 0x40000, 1 << 4 | 1 << 12 | 1  # MISSING_HUGETLBFS, WP_HUGETLBFS_SHMEM, PAGEFAULT_FLAG_WP


def known(area: int) -> list[str]:
    """Of each page: whether it is there, and protected; a shared one may be there and not mapped yet."""
    found = states(area, COUNT * HUGE // PAGE)
    return [state[-1:].replace("p", "").replace("s", "") for state in found] if "shared" in sys.argv else found


def main() -> None:
    with workload() as check:
        kind = mmap.MAP_SHARED if "shared" in sys.argv else mmap.MAP_PRIVATE
        area = int(libc.mmap(None, COUNT * HUGE, 3, kind | mmap.MAP_ANONYMOUS | MAP_HUGETLB, -1, 0))
        context = Context(FEATURES)
        context.register(area, COUNT * HUGE // PAGE, MISSING | PROTECT)
        context.copy(area, b"0", size=HUGE)
        context.copy(area + HUGE, b"1", size=HUGE)
        context.protect(area + HUGE, size=HUGE)
        context.protect(area + 3 * HUGE, size=HUGE)
        before = modes(area), known(area)
        reader = Touch(area + 2 * HUGE + 5 * PAGE)
        context.wait_for(1)
        check.wait()
        check.that((modes(area), known(area)) == before, "pages are in another state")
        check.equal(ctypes.string_at(area, 1) + ctypes.string_at(area + HUGE, 1), b"01", "content")
        check.equal([page & -HUGE for page in context.wait_for(1)], [area + 2 * HUGE], "the fault comes again")
        context.copy(area + 2 * HUGE, b"2", size=HUGE)
        check.equal(reader.result(), 0, "what the thread read")
        writer = Touch(area + HUGE, b"w")
        check.equal([page & -HUGE for page in context.wait_for(1)], [area + HUGE], "a write to a protected page")
        context.protect(area + HUGE, on=False, size=HUGE)
        writer.result()
        check.equal(ctypes.string_at(area + HUGE, 1), b"w", "what was written")


main()
