"""A thread that the kernel cannot let run before somebody resolves a page fault: its rseq(2) area is protected."""

from __future__ import annotations

import ctypes
import signal
import threading

from lib import workload
from uffd import PAGE, PROTECT, Context, libc

ARCH_GET_FS = 0x1003


def rseq_area() -> int:
    """The address of the calling thread's."""
    base = ctypes.c_ulong()
    libc.syscall(158, ARCH_GET_FS, ctypes.byref(base))
    return base.value + ctypes.c_long.in_dll(libc, "__rseq_offset").value


def main() -> None:
    with workload() as check:
        areas: list[int] = []
        found, ended = threading.Event(), threading.Event()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

        def sleep() -> None:
            areas.append(rseq_area())
            found.set()
            signal.sigwaitinfo([signal.SIGUSR1])
            ended.set()

        thread = threading.Thread(target=sleep, daemon=True)
        thread.start()
        found.wait()
        with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
            while stat.read().rpartition(") ")[2][0] != "S":
                stat.seek(0)
        page = areas[0] & -PAGE
        context = Context(1)  # UFFD_FEATURE_PAGEFAULT_FLAG_WP
        context.register(page, 1, PROTECT)
        context.protect(page)
        check.wait()
        context.protect(page, on=False)
        signal.pthread_kill(thread.ident or 0, signal.SIGUSR1)
        check.that(ended.wait(10), "the thread does not go on")


main()
