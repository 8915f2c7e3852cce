"""System calls that are under way at the freeze: none of them fails, relative sleeps keep the time they had left."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
import time
from collections.abc import Callable

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
SPAN = 4.0
results: dict[str, tuple[int, int, float]] = {}


def timespec(seconds: float) -> ctypes.Array[ctypes.c_char]:
    whole = int(seconds)
    return ctypes.create_string_buffer(struct.pack("<qq", whole, int((seconds - whole) * 1e9)), 16)


def call(name: str, function: Callable[[], int]) -> None:
    """Note result, errno and duration."""
    began = time.time()
    result = function()
    results[name] = result, ctypes.get_errno() if result < 0 else 0, time.time() - began


def raw(number: int, *arguments: object) -> Callable[[], int]:
    return lambda: int(libc.syscall(number, *arguments))


with workload() as check:
    epoll = libc.epoll_create1(0)
    reading, writing = os.pipe()
    long = timespec(SPAN)
    word = ctypes.c_int(5)
    event = ctypes.create_string_buffer(12)
    polled = ctypes.create_string_buffer(struct.pack("<ihh", reading, 1, 0), 8)
    calls = {
        "nanosleep": raw(35, long, ctypes.create_string_buffer(16)),
        "clock_nanosleep": raw(230, 1, 0, long, ctypes.create_string_buffer(16)),
        "poll": raw(7, polled, 1, int(SPAN * 1000)),
        "futex": raw(202, ctypes.byref(word), 0, 5, long, None, 0),
        "epoll_wait": raw(232, epoll, event, 1, int(SPAN * 1000)),
        "select": raw(23, 0, None, None, None, timespec(SPAN)),
    }
    forever = {"read": raw(0, reading, event, 1), "futex forever": raw(202, ctypes.byref(word), 0, 5, None, None, 0)}
    threads = {name: threading.Thread(target=call, args=(name, work)) for name, work in (calls | forever).items()}
    for thread in threads.values():
        thread.start()
    time.sleep(SPAN / 4)

    check.wait()

    os.write(writing, b"x")
    for name in calls:
        threads[name].join()
        result, code, took = results[name]
        expected = {"futex": (-1, errno.ETIMEDOUT)}.get(name, (0, 0))
        if name != "poll":  # it may have been told of the byte
            check.equal((result, code), expected, name)
            check.that(took > SPAN - 0.01, f"{name} took {took} s only")
    check.that(results["poll"][0] >= 0, f"poll: {results['poll']}")
    threads["read"].join()
    check.equal(results["read"][:2], (1, 0), "read")
    word.value = 6
    while libc.syscall(202, ctypes.byref(word), 1, 1, None, None, 0) != 1:
        time.sleep(0.01)
    threads["futex forever"].join()
    check.equal(results["futex forever"][:2], (0, 0), "futex without a timeout")
