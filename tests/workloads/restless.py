"""Processes that never stand still: each does one thing over and over, and looks at every result.

Arguments: the names of the things, all by default.  Progress is counted in shared memory, one word a process.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable

from lib import DIRECTORY, workload

libc = ctypes.CDLL(None, use_errno=True)
PAGE = 4096


def forks() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    assert os.waitpid(pid, 0) == (pid, 7 << 8)


def grandchildren() -> None:
    """A child that leaves a child of its own behind, in a session of its own; it falls to us."""
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: else it would leave the tree
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, b"here")
        os._exit(0)
    os.close(writer)
    assert os.waitpid(pid, 0) == (pid, 0)
    assert os.read(reader, 10) == b"here"
    os.close(reader)
    assert os.wait()[1] == 0


def spawns() -> None:
    assert subprocess.run(["/bin/true"], close_fds=False).returncode == 0


def threads() -> None:
    found: list[int] = []
    several = [threading.Thread(target=found.append, args=(number,)) for number in range(4)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3], found


def maps() -> None:
    areas = [mmap.mmap(-1, (number + 1) * 3 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for number in range(8)]
    for number, area in enumerate(areas):
        area[PAGE : PAGE + 8] = b"number %d" % number
    for number, area in enumerate(areas):
        assert area[PAGE : PAGE + 8] == b"number %d" % number
        assert area[:8] == bytes(8)
        area.close()


rung = 0


def signals() -> None:
    """Handlers in the middle of system calls."""

    def ring(*_: object) -> None:
        global rung
        rung += 1

    signal.signal(signal.SIGALRM, ring)
    before = rung
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    reader, writer = os.pipe()
    for _ in range(20):
        os.kill(os.getpid(), signal.SIGALRM)
        os.write(writer, b"x" * 100)
        assert os.read(reader, 100) == b"x" * 100
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.close(reader)
    os.close(writer)
    assert rung >= before + 20, (before, rung)


def sleeps() -> None:
    """Calls that the freeze interrupts return neither early nor with an error."""
    reader, writer = os.pipe()
    try:
        began = time.monotonic()
        assert libc.poll(ctypes.byref((ctypes.c_int * 2)(reader, 1)), 1, 3) == 0
        assert libc.usleep(3000) == 0
        with select.epoll() as epoll:
            epoll.register(reader, select.EPOLLIN)
            assert epoll.poll(0.003) == []
        assert time.monotonic() - began >= 0.009, time.monotonic() - began
    finally:
        os.close(reader)
        os.close(writer)


def files() -> None:
    path = DIRECTORY / f"file{os.getpid()}"
    with path.open("w+b") as file:
        file.write(b"first")
        file.flush()
        path.unlink()
        file.seek(0)
        assert file.read() == b"first"


WORKS: dict[str, Callable[[], None]] = {
    work.__name__: work for work in (forks, grandchildren, spawns, threads, maps, signals, sleeps, files)
}


def toil(work: Callable[[], None], counter: memoryview) -> None:
    """In a child: go on until asked to end; what is wrong is written down."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # no call is to fail because of it
    try:
        while signal.SIGTERM not in signal.sigpending():
            work()
            counter[0] += 1
        os._exit(0)
    except BaseException:
        (DIRECTORY / f"failed-{work.__name__}").write_text(traceback.format_exc())
        os._exit(1)


with workload() as check:
    names = [name for name in sys.argv[2:] if name in WORKS] or list(WORKS)
    shared = mmap.mmap(-1, PAGE)
    counters = memoryview(shared).cast("Q")
    pids = {}
    for index, name in enumerate(names):
        pid = os.fork()
        if pid == 0:
            toil(WORKS[name], counters[index : index + 1])
        pids[name] = pid
    check.wait()
    before = list(counters)
    time.sleep(0.3)
    for index, name in enumerate(names):
        deadline = time.monotonic() + 10
        while counters[index] == before[index] and time.monotonic() < deadline:
            time.sleep(0.05)
        problem = DIRECTORY / f"failed-{name}"
        check.that(not problem.exists(), f"{name}: {problem.read_text() if problem.exists() else ''}")
        check.that(counters[index] > before[index], f"{name} does not go on")
        os.kill(pids[name], signal.SIGTERM)
        check.equal(os.waitpid(pids[name], 0)[1], 0, f"end of {name}")
