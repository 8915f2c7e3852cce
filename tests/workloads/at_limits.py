"""A process that has used up what it may have: descriptors, address space, processes of its user, file size, data.

at_limits.py DIRECTORY [hard] [room]: it cannot raise its limits; there is room for 1 MiB more of memory.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator

from lib import DIRECTORY, answering, workload

HARD = "hard" in sys.argv
ROOM = 1 << 20 if "room" in sys.argv else 0
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
FAILED = 2**64 - 1
USER = 54322  # nobody has it
KINDS = (
    "RLIMIT_NOFILE",
    "RLIMIT_AS",
    "RLIMIT_DATA",
    "RLIMIT_NPROC",
    "RLIMIT_FSIZE",
    "RLIMIT_STACK",
    "RLIMIT_SIGPENDING",
)


def used(name: str) -> int:
    """In bytes, from /proc/self/status."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(f"{name}:"))


def limit(name: str, number: int) -> None:
    kind = getattr(resource, name)
    resource.setrlimit(kind, (number, number if HARD else resource.getrlimit(kind)[1]))


def fails_to_map() -> bool:
    return libc.mmap(None, 2 << 20, 3, 0x22, -1, 0) == FAILED


def fails_to_fork() -> bool:
    try:
        pid = os.fork()
    except BlockingIOError:
        return True
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return False


def fails_to_open() -> bool:
    try:
        os.close(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return True
    return False


class Strained:
    """What the child has, and how it is to stay."""

    def __init__(self) -> None:
        self.file = os.open(DIRECTORY / "file", os.O_RDWR | os.O_CREAT)
        os.write(self.file, b"x" * 100)
        self.high = [os.dup2(self.file, number) for number in (40, 50, 63)]
        until_we_end, self.alive = os.pipe()
        if os.fork() == 0:
            os.close(self.alive)
            os.read(until_we_end, 1)
            os._exit(0)
        os.close(until_we_end)
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
        self.thread = threading.Thread(target=time.sleep, args=(1000,), daemon=True)
        self.thread.start()
        self._use_up()
        self.before = limits()

    def _use_up(self) -> None:
        stack, data, size = used("VmStk"), used("VmData"), used("VmSize")
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGRTMIN)
        limit("RLIMIT_NPROC", 2)
        limit("RLIMIT_SIGPENDING", 3)
        limit("RLIMIT_FSIZE", 50)
        limit("RLIMIT_STACK", stack)
        lowest = os.dup(self.file)
        os.close(lowest)
        limit("RLIMIT_NOFILE", lowest)
        limit("RLIMIT_DATA", data + ROOM)
        limit("RLIMIT_AS", size + ROOM)

    def faults(self) -> Iterator[str]:
        if limits() != self.before:
            yield f"limits {limits()} instead of {self.before}"
        if not fails_to_map():
            yield "it gets more memory than it may have"
        if not fails_to_fork():
            yield "it gets more processes than it may have"
        if not fails_to_open():
            yield "it gets more descriptors than it may have"
        if not self.thread.is_alive():
            yield "the thread is gone"
        if os.pread(self.high[-1], 200, 0) != b"x" * 100:
            yield "the file is another"
        got = [signal.sigtimedwait([signal.SIGRTMIN], 0) is not None for _ in range(4)]
        if got != [True, True, True, False]:
            yield f"signals that were queued: {got}"


def limits() -> list[tuple[int, int]]:
    return [resource.getrlimit(getattr(resource, name)) for name in KINDS]


def child(asked: int, answer: int) -> None:
    strained = Strained()
    text = ", ".join(strained.faults())
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGRTMIN)  # they have been taken
    os.write(answer, (text or "well").encode())
    os.read(asked, 1)
    os.write(answer, ("; ".join(strained.faults()) or "well").encode())


with workload() as check:
    pid, ask, answered = answering(child)
    check.equal(os.read(answered, 1000), b"well", "before")
    check.wait()
    os.write(ask, b"?")
    check.equal(os.read(answered, 1000), b"well", "after")
    os.waitpid(pid, 0)
