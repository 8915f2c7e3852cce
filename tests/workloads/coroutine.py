"""The main thread waits on a small stack of its own making, as coroutines have (swapcontext(3))."""

from __future__ import annotations

import ctypes
import struct

from lib import workload

libc = ctypes.CDLL(None)
SIZE, UCONTEXT, STACK_AT = 1 << 18, 1024, 16  # ucontext_t has its stack_t behind flags and link

with workload() as check:
    stack = ctypes.create_string_buffer(SIZE)
    main, other = ctypes.create_string_buffer(UCONTEXT), ctypes.create_string_buffer(UCONTEXT)
    ran = []

    @ctypes.CFUNCTYPE(None)
    def wait_there() -> None:
        check.wait()
        ran.append(True)
        libc.swapcontext(other, main)

    libc.getcontext(other)
    struct.pack_into("<QQQ", other, STACK_AT, ctypes.addressof(stack), 0, SIZE)
    libc.makecontext(other, wait_there, 0)
    libc.swapcontext(main, other)
    check.equal(ran, [True], "the coroutine")
