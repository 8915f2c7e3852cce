"""get_robust_list(2)."""

from __future__ import annotations

import ctypes

from cr.kernel.libc import syscall


def get_robust_list(tid: int) -> tuple[int, int]:
    """(address, length) of the head of a thread's list of robust futexes."""
    head, length = ctypes.c_uint64(), ctypes.c_uint64()
    syscall("get_robust_list", 274, tid, ctypes.byref(head), ctypes.byref(length))
    return head.value, length.value
