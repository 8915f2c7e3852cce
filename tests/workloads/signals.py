"""Handlers, masks, an alternate stack, queued signals in order, interval and POSIX timers."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
SIGRT = 40


def siginfo(signo: int, code: int, value: int) -> bytes:
    return struct.pack("<iii4xiiQ", signo, 0, code, os.getpid(), os.getuid(), value).ljust(128, b"\0")


def queue(signo: int, value: int, tid: int = 0) -> None:
    """rt_sigqueueinfo or rt_tgsigqueueinfo to ourselves, with a code that only we may use for ourselves."""
    info = siginfo(signo, -7, value)
    if tid:
        assert libc.syscall(297, os.getpid(), tid, signo, info) == 0
    else:
        assert libc.syscall(129, os.getpid(), signo, info) == 0


def take(signos: set[int]) -> list[tuple[int, int, int]]:
    """(signo, code, value) of everything that waits for this thread."""
    found = []
    while True:
        info = ctypes.create_string_buffer(128)
        mask = ctypes.c_uint64(sum(1 << (signo - 1) for signo in signos))
        if libc.syscall(128, ctypes.byref(mask), info, bytes(16), 8) < 0:
            return found
        signo, _, code, _, _, value = struct.unpack_from("<iii4xiiQ", info.raw)
        found.append((signo, code, value))


def old_action(signo: int) -> tuple[int, int, int, int]:
    record = ctypes.create_string_buffer(32)
    assert libc.syscall(13, signo, None, record, 8) == 0
    return struct.unpack("<4Q", record.raw)


def alternate_stack() -> bytes:
    record = ctypes.create_string_buffer(24)
    assert libc.sigaltstack(None, record) == 0
    return record.raw


def make_timer(clock: int, signo: int, value: int, notify: int, tid: int, interval: int) -> int:
    event = ctypes.create_string_buffer(struct.pack("<Qiii", value, signo, notify, tid), 64)
    number = ctypes.c_int()
    assert libc.syscall(222, clock, event, ctypes.byref(number)) == 0
    spec = struct.pack("<4q", interval, 0, 1000, 0)
    assert libc.syscall(223, number.value, 0, spec, None) == 0
    return number.value


def timers() -> str:
    with open("/proc/self/timers") as file:
        return file.read()


def timer_left(number: int) -> tuple[int, int, int, int]:
    spec = ctypes.create_string_buffer(32)
    assert libc.syscall(224, number, spec) == 0
    return struct.unpack("<4q", spec.raw)


with workload() as check:
    stack = ctypes.create_string_buffer(1 << 16)
    wanted = struct.pack("<Qi4xQ", ctypes.addressof(stack), 0, 1 << 16)
    assert libc.sigaltstack(wanted, None) == 0
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    blocked = {signal.SIGUSR2, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, SIGRT, SIGRT + 1}
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    in_thread: dict[str, object] = {}
    go, tid_known = threading.Event(), threading.Event()

    def other() -> None:
        in_thread["tid"] = threading.get_native_id()
        queue(SIGRT + 1, 1001, threading.get_native_id())
        queue(SIGRT + 1, 1002, threading.get_native_id())
        tid_known.set()
        go.wait()
        in_thread["mask"] = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        in_thread["private"] = take({SIGRT + 1})

    thread = threading.Thread(target=other)
    thread.start()
    tid_known.wait()
    for value in (3, 1, 2):
        queue(SIGRT, value)
    queue(signal.SIGUSR2, 77)
    queue(signal.SIGURG, 78)  # the engine's own choice for "done", it must choose another
    queue(SIGRT, 9, threading.get_native_id())
    child = os.fork()
    if child == 0:
        os._exit(7)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert signal.SIGCHLD in signal.sigpending()
    signal.sigwait([signal.SIGCHLD])  # news taken, the zombie stays
    signal.setitimer(signal.ITIMER_REAL, 1000, 50)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    passed_over = [make_timer(1, SIGRT, 0, 0, 0, 0) for _ in range(3)]
    numbers = [
        make_timer(1, SIGRT, 42, 0, 0, 5),
        make_timer(0, SIGRT, 43, 4, int(str(in_thread["tid"])), 0),
        make_timer(2, SIGRT, 44, 0, 0, 0),
        make_timer(1, 0, 45, 1, 0, 0),
    ]
    for number in passed_over:
        libc.syscall(226, number)
    actions = [old_action(signo) for signo in range(1, 65) if signo not in (9, 19)]
    before_timers, before_stack = timers(), alternate_stack()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    check.wait()

    check.that(signal.SIGCHLD not in signal.sigpending(), "a SIGCHLD of the restore itself")
    now_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    check.equal(now_mask | {signal.SIGTERM}, mask | {signal.SIGTERM}, "blocked signals")
    check.equal([old_action(signo) for signo in range(1, 65) if signo not in (9, 19)], actions, "signal actions")
    check.equal(alternate_stack(), before_stack, "alternate stack")
    check.equal(timers(), before_timers, "POSIX timers")
    for number in numbers:
        interval, _, left, _ = timer_left(number)
        check.that(900 < left <= 1000, f"timer {number} has {left} s left")
        check.equal(interval, 5 if number == numbers[0] else 0, "interval")
    seconds, interval_seconds = signal.getitimer(signal.ITIMER_REAL)
    check.that(900 < seconds <= 1000 and interval_seconds == 50, f"interval timer: {seconds}, {interval_seconds}")
    check.that(900 < signal.getitimer(signal.ITIMER_VIRTUAL)[0] < 1001, "virtual interval timer")
    check.equal(take({SIGRT}), [(SIGRT, -7, 9), (SIGRT, -7, 3), (SIGRT, -7, 1), (SIGRT, -7, 2)], "queue")
    check.equal(take({signal.SIGUSR2}), [(signal.SIGUSR2, -7, 77)], "SIGUSR2")
    check.equal(take({signal.SIGURG}), [(signal.SIGURG, -7, 78)], "SIGURG")
    go.set()
    thread.join()
    check.equal(in_thread["private"], [(SIGRT + 1, -7, 1001), (SIGRT + 1, -7, 1002)], "the thread's queue")
    check.equal(in_thread["mask"], mask | {signal.SIGTERM}, "the thread's mask")
    check.equal(os.waitpid(child, 0), (child, 7 << 8), "the zombie")
