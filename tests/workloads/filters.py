"""Seccomp: a chain of filters in two threads, one more in one of them, strict mode in a child.

With the argument "filters-only", there is no such child.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
import threading
import time
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


def strict_code(fd: int) -> bytes:
    """prctl(PR_SET_SECCOMP, 1), read(fd, ..., 1), exit(5): Python itself would call much else."""
    strict = "b89d000000bf16000000be010000000f05"
    wait = f"31c0bf{fd.to_bytes(4, 'little').hex()}488d7424c0ba010000000f05"
    return bytes.fromhex(strict + wait + "b83c000000bf050000000f05")


def run(code: bytes) -> None:
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        memory.write(code)
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()


def mode_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text().partition("Seccomp:")[2].split()[0]


with workload() as check:
    prepared, go = threading.Event(), threading.Event()
    in_thread: dict[str, int] = {}
    reading, writing = os.pipe()
    strict = "filters-only" not in sys.argv
    child = os.fork() if strict else -1
    if child == 0:
        run(strict_code(reading))

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
    while strict and mode_of(child) != "1":
        time.sleep(0.001)

    check.wait()

    check.equal(fails_with(GETPGRP), errno.EDOM, "the first filter")
    check.equal(fails_with(GETPPID), 0, "the thread's filter in the main thread")
    go.set()
    thread.join()
    check.equal(in_thread, {"first": errno.EDOM, "second": errno.EXDEV}, "filters of the thread")
    if strict:
        check.equal(mode_of(child), "1", "the child's seccomp mode")
        os.write(writing, b"x")
        check.equal(os.waitpid(child, 0), (child, 5 << 8), "the child in strict mode")
    while len(os.listdir("/proc/self/task")) > 1:  # joined is not yet gone
        time.sleep(0.001)
    check.equal(install(SYNC, errno.EDOM, flags=1), 0, "TSYNC when all threads have the same chain again")
