"""POSIX timers whose signal was delivered after several intervals: timer_getoverrun(2); one is for another thread."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading
import time

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
ABSOLUTE, HOUR = 1, 3600
SIGNAL = signal.SIGRTMIN + 3


def call(number: int, *arguments: object) -> int:
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def timer(signo: int, tid: int = 0) -> int:
    """A timer of an hour that began four and a half hours ago; clocks of machines that are younger cannot tell that."""
    place = ctypes.c_int()
    call(222, time.CLOCK_REALTIME, struct.pack("<Qiii44x", 7, signo, 4 if tid else 0, tid), ctypes.byref(place))
    spec = struct.pack("<4q", HOUR, 0, int(time.time() - 4.5 * HOUR), 0)
    call(223, place.value, ABSOLUTE, spec, None)
    return place.value


def overrun(number: int) -> int:
    return call(225, number)


def remaining(number: int) -> tuple[int, int]:
    """Interval and time left, seconds."""
    spec = ctypes.create_string_buffer(32)
    call(224, number, spec)
    interval, _, seconds, _ = struct.unpack("<4q", spec.raw)
    return interval, seconds


def main() -> None:
    with workload() as check:
        signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL, SIGNAL + 1])
        numbers: list[int] = []
        ready, go = threading.Event(), threading.Event()

        def other() -> None:
            numbers.append(timer(SIGNAL + 1, threading.get_native_id()))
            signal.sigwaitinfo([SIGNAL + 1])
            ready.set()
            go.wait()

        thread = threading.Thread(target=other)
        thread.start()
        ready.wait()
        mine, never = timer(SIGNAL), timer(SIGNAL)
        signal.sigwaitinfo([SIGNAL])
        signal.sigwaitinfo([SIGNAL])
        call(223, never, 0, struct.pack("<4q", HOUR, 0, HOUR, 0), None)  # forgets it
        found = [overrun(number) for number in (mine, never, *numbers)]
        check.equal(found, [4, 0, 4], "overruns")
        before = [remaining(number) for number in (mine, *numbers)]
        check.wait()
        check.equal([overrun(number) for number in (mine, never, *numbers)], found, "overruns after the restore")
        for number, (interval, seconds) in zip((mine, *numbers), before, strict=True):
            check.equal(remaining(number)[0], interval, "interval")
            check.that(seconds - 60 < remaining(number)[1] <= seconds, "the time left is another")
        check.equal(signal.sigpending() & {SIGNAL, SIGNAL + 1}, set(), "signals that wait")
        go.set()
        thread.join()


main()
