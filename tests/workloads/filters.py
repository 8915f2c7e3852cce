"""Seccomp: a chain of filters in two threads, one more in one of them, strict mode in a child."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from pathlib import Path

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
GETPGRP, GETPPID, SYNC = 111, 110, 26


def install(number: int, code: int, flags: int = 0) -> int:
    """A filter that makes system call `number` fail with `code`."""
    program = struct.pack("<HBBI", 0x20, 0, 0, 0) + struct.pack("<HBBI", 0x15, 0, 1, number)
    program += struct.pack("<HBBI", 6, 0, 0, ERRNO | code) + struct.pack("<HBBI", 6, 0, 0, ALLOW)
    text = ctypes.create_string_buffer(program, len(program))
    return int(libc.syscall(317, 1, flags, struct.pack("<H6xQ", 4, ctypes.addressof(text))))


def fails_with(number: int) -> int:
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(number) < 0 else 0


with workload() as check:
    prepared, go = threading.Event(), threading.Event()
    in_thread: dict[str, int] = {}
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        libc.prctl(22, 1, 0, 0, 0)  # strict: read, write, _exit and sigreturn are left
        while True:
            libc.syscall(0, reading, ctypes.create_string_buffer(1), 1)
            libc.syscall(60, 5)

    def other() -> None:
        install(GETPPID, errno.EXDEV)
        prepared.set()
        go.wait()
        in_thread["first"], in_thread["second"] = fails_with(GETPGRP), fails_with(GETPPID)

    libc.prctl(38, 1, 0, 0, 0)
    assert install(GETPGRP, errno.EDOM, flags=2) == 0
    thread = threading.Thread(target=other)
    thread.start()
    prepared.wait()

    check.wait()

    check.equal(fails_with(GETPGRP), errno.EDOM, "the first filter")
    check.equal(fails_with(GETPPID), 0, "the thread's filter in the main thread")
    go.set()
    thread.join()
    check.equal(in_thread, {"first": errno.EDOM, "second": errno.EXDEV}, "filters of the thread")
    mode = Path(f"/proc/{child}/status").read_text().partition("Seccomp:")[2].split()[0]
    check.equal(mode, "1", "the child's seccomp mode")
    os.write(writing, b"x")
    check.equal(os.waitpid(child, 0), (child, 5 << 8), "the child in strict mode")
    check.equal(install(SYNC, errno.EDOM, flags=1), 0, "TSYNC when all threads have the same chain again")
