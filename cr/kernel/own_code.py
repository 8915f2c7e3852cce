"""Machine code of ours that runs in our own process (x86-64, System V ABI), as functions."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache

from cr.kernel.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@cache
def function(code: bytes, arguments: int) -> Callable[..., int]:
    """The code as a function of that many 64-bit words; the interpreter's lock is given up while it runs.

    OSError where this process may not make memory executable (SELinux: execmem).
    """
    page = mmap.mmap(-1, mmap.PAGESIZE)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    syscall("mprotect", 10, address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
    made = ctypes.CFUNCTYPE(ctypes.c_void_p, *[ctypes.c_void_p] * arguments)(address)
    made.page = page  # type: ignore[attr-defined]  # lives as long
    return made


@cache
def possible() -> bool:
    """Whether this process may have such functions."""
    try:
        function(b"\xc3", 0)  # ret
    except OSError:
        return False
    return True
