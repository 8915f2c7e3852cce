"""eventfd, timerfd, signalfd, epoll, inotify."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
import time

from lib import COMMON, DIRECTORY, workload

os.chdir(DIRECTORY)
libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def timer(clock: int, flags: int, value: float, interval: float, settime_flags: int = 0) -> int:
    fd = call(283, clock, flags)
    words = [part for t in (interval, value) for part in (int(t), int(t % 1 * 1e9))]
    call(286, fd, settime_flags, struct.pack("<4q", *words), None)
    return fd


def left(fd: int) -> tuple[float, float]:
    buffer = ctypes.create_string_buffer(32)
    call(287, fd, buffer)
    isec, insec, vsec, vnsec = struct.unpack("<4q", buffer.raw)
    return vsec + vnsec / 1e9, isec + insec / 1e9


with workload() as check:
    counter = os.eventfd(5, os.EFD_NONBLOCK)
    semaphore = os.eventfd(3, os.EFD_NONBLOCK | (0 if COMMON else os.EFD_SEMAPHORE))
    large = os.eventfd(0)
    many = 1 << (20 if COMMON else 40)
    os.eventfd_write(large, many)

    far = timer(time.CLOCK_MONOTONIC, os.O_NONBLOCK, 1000, 5)
    absolute = timer(time.CLOCK_BOOTTIME, 0, time.clock_gettime(time.CLOCK_BOOTTIME) + 500, 0, 1)
    expired = timer(time.CLOCK_MONOTONIC, os.O_NONBLOCK, 0.001, 0)
    repeated = timer(time.CLOCK_MONOTONIC, os.O_NONBLOCK, 0.001, 1000)
    disarmed = timer(time.CLOCK_REALTIME, os.O_NONBLOCK, 0, 0)
    select.select([expired], [], [])
    select.select([repeated], [], [])

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signals = call(289, -1, struct.pack("<Q", 1 << signal.SIGUSR1 - 1), 8, os.O_NONBLOCK)

    readable, writable = os.pipe()
    epoll = select.epoll()
    epoll.register(readable, select.EPOLLIN)
    alias = os.dup(counter)  # watched under a number that is another file's later
    epoll.register(alias, select.EPOLLIN | select.EPOLLET)
    if not COMMON:
        os.close(alias)
        replaced = os.open("/dev/null", os.O_RDONLY)
        check.equal(replaced, alias, "number of the replacement")
    outer = select.epoll()
    outer.register(epoll.fileno(), select.EPOLLIN)
    call(233, epoll.fileno(), 1, far, struct.pack("<IQ", select.EPOLLIN, 0xDEADBEEF12345678))
    lent = os.eventfd(1)
    foreign = select.epoll()
    foreign.register(lent, select.EPOLLIN)
    child = os.fork()
    if child == 0:
        signal.pause()
    if not COMMON:
        os.close(lent)  # only the child has it open now

    (DIRECTORY / "watched").mkdir()
    (DIRECTORY / "file").write_text("x")
    inotify = call(294, os.O_NONBLOCK)
    first = libc.inotify_add_watch(inotify, b"file", 0x2)
    libc.inotify_rm_watch(inotify, first)
    os.read(inotify, 100)
    behind = call(294, os.O_NONBLOCK)
    libc.inotify_add_watch(behind, b"watched", 0x100)
    (DIRECTORY / "watched" / "seen").touch()
    directory_wd = libc.inotify_add_watch(inotify, b"watched", 0x100 | 0x200)
    file_wd = libc.inotify_add_watch(inotify, b"file", 0x2)
    unlinked = os.open("unlinked", os.O_RDWR | os.O_CREAT)
    if not COMMON:
        unlinked_wd = libc.inotify_add_watch(inotify, b"unlinked", 0x2)
    os.unlink("unlinked")
    check.wait()

    check.equal(os.eventfd_read(counter), 5, "eventfd")
    takes = [3] if COMMON else [1, 1, 1]
    check.equal([os.eventfd_read(semaphore) for _ in takes], takes, "semaphore")
    check.equal(os.eventfd_read(large), many, "large eventfd")
    value, interval = left(far)
    check.that(990 < value <= 1000 and interval == 5, f"far timer: {value}, {interval}")
    check.that(490 < left(absolute)[0] <= 500, f"absolute timer: {left(absolute)}")
    check.equal(struct.unpack("<Q", os.read(expired, 8))[0], 1, "expired timer")
    check.equal(struct.unpack("<Q", os.read(repeated, 8))[0], 1, "repeated timer")
    check.that(left(repeated)[1] == 1000 and left(repeated)[0] > 990, f"repeated timer goes on: {left(repeated)}")
    check.equal(left(disarmed), (0.0, 0.0), "disarmed timer")

    os.kill(os.getpid(), signal.SIGUSR1)
    check.equal(struct.unpack_from("<I", os.read(signals, 128))[0], signal.SIGUSR1, "signalfd")

    epoll.poll(0)  # edges that the restore made
    check.equal(epoll.poll(0), [], "nothing is ready")
    os.eventfd_write(counter, 1)
    check.equal(epoll.poll(1), [(alias, select.EPOLLIN)], "edge of a file whose number was closed")
    os.write(writable, b"x")
    check.equal(epoll.poll(1), [(readable, select.EPOLLIN)], "readable pipe")
    check.equal(outer.poll(1), [(epoll.fileno(), select.EPOLLIN)], "nested epoll")
    epoll.modify(readable, select.EPOLLOUT)
    epoll.unregister(far)
    check.equal(foreign.poll(1), [(lent, select.EPOLLIN)], "epoll of a file that only the child has")
    try:
        epoll.unregister(counter)
        check.that(False, "the watch came back under another number")
    except FileNotFoundError:
        pass

    if not COMMON:
        check.that(not select.select([inotify], [], [], 0)[0], "inotify has events from the restore")
    while select.select([inotify], [], [], 0)[0]:
        os.read(inotify, 4096)
    if not COMMON:
        check.equal(os.read(behind, 4096), struct.pack("<iIII", -1, 0x4000, 0, 0), "the news that events were lost")
    (DIRECTORY / "watched" / "new").touch()
    with open(DIRECTORY / "file", "w") as file:
        file.write("more")
    os.write(unlinked, b"x")
    events = os.read(inotify, 4096)
    seen = []
    while events:
        wd, mask, _, length = struct.unpack_from("<iIII", events)
        seen.append((wd, mask, events[16 : 16 + length].rstrip(b"\0")))
        events = events[16 + length :]
    expected = [(directory_wd, 0x100, b"new"), (file_wd, 2, b"")]
    if not COMMON:
        expected.append((unlinked_wd, 2, b""))
    check.equal(sorted(set(seen)), sorted(expected), "inotify events")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
