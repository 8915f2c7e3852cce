"""More signals that wait, and more timers, than one program of system calls can bring back."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct

from lib import workload

SIGNO = 40
libc = ctypes.CDLL(None, use_errno=True)


def queue(value: int) -> None:
    info = struct.pack("<iii4xiiQ", SIGNO, 0, -7, os.getpid(), os.getuid(), value).ljust(128, b"\0")
    assert libc.syscall(129, os.getpid(), SIGNO, info) == 0


def make_timer() -> None:
    number = ctypes.c_int()
    assert libc.syscall(222, 1, struct.pack("<Qiii", 0, SIGNO, 0, 0).ljust(64, b"\0"), ctypes.byref(number)) == 0
    assert libc.syscall(223, number.value, 0, struct.pack("<4q", 0, 0, 1000 + number.value, 0), None) == 0


def timers() -> str:
    with open("/proc/self/timers") as file:
        return file.read()


with workload() as check:
    limit = resource.getrlimit(resource.RLIMIT_SIGPENDING)[0]
    some = min(6000, limit // 2 - 100) if limit != resource.RLIM_INFINITY else 6000
    signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNO])
    for number in range(some):
        queue(number)
        make_timer()
    before = timers()
    check.wait()
    found = []
    info = ctypes.create_string_buffer(128)
    while libc.syscall(128, struct.pack("<Q", 1 << SIGNO - 1), info, bytes(16), 8) >= 0:
        found.append(struct.unpack_from("<iii4xiiQ", info.raw)[-1])
    check.equal(found == list(range(some)), True, "the signals that waited, in order")
    check.equal(timers() == before, True, "the timers")
