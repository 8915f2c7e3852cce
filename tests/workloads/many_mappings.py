"""As many mappings as a process may have (vm.max_map_count), or two less.

many_mappings.py DIRECTORY [room]
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from lib import workload

PAGE, READ, BOTH, ANONYMOUS = 4096, 1, 3, 0x22
FAILED = 2**64 - 1
MOST = int(Path("/proc/sys/vm/max_map_count").read_text())

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def page(number: int) -> int:
    """Address of a page that gets a mapping of its own."""
    return int(base) + 2 * number * PAGE


def content(number: int) -> ctypes.c_uint64:
    return ctypes.c_uint64.from_address(page(number))


def is_full() -> bool:
    return bool(libc.mmap(None, PAGE, READ, ANONYMOUS, -1, 0) == FAILED)


base = libc.mmap(None, 2 * MOST * PAGE, BOTH, ANONYMOUS, -1, 0)
with workload() as check:
    for number in range(MOST // 2):
        content(number).value = number
    count = 0
    while libc.mprotect(page(count), PAGE, READ) == 0:
        count += 1
    while not is_full():
        continue
    if "room" in sys.argv:
        count -= 1
        libc.mprotect(page(count), PAGE, BOTH)
    check.wait()
    libc.mprotect(base, 2 * MOST * PAGE, BOTH)  # Python needs some
    wrong = [number for number in range(MOST // 2) if content(number).value != number]
    check.that(not wrong, f"content of {len(wrong)} pages")
    check.that(count > MOST // 2 - 500, f"there were only {count} mappings")
