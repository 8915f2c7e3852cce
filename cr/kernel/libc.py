"""The one door to the kernel: raw system calls that raise OSError with the call's name.

Everything in this package that speaks to the kernel beyond Python's own ``os`` goes through
`syscall`.  Numbers are those of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl); a test holds
them against python-ptrace's table.
"""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
_syscall = libc.syscall
_syscall.restype = ctypes.c_long
_memcmp = libc.memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


def memcmp(one: int, other: int, size: int) -> int:
    """memcmp(3) of two addresses in this process."""
    result: int = _memcmp(one, other, size)
    return result


def syscall(name: str, number: int, *args: object) -> int:
    """Call the kernel.  Integers are passed as 64-bit words, bytes and ctypes objects by address.

    Raises OSError(errno, "name: reason") where the kernel answers with an error.
    """
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result: int = _syscall(ctypes.c_long(number), *words)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result
