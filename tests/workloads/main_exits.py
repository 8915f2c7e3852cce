"""A process whose main thread exits; two others live on, one of them looks at all in the end."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from lib import Check, workload

libc = ctypes.CDLL(None)
EXIT = 60
go, answer = threading.Event(), threading.Event()


def states() -> list[str]:
    """Of all threads, the main one first."""
    tids = sorted(map(int, os.listdir("/proc/self/task")))
    return [Path(f"/proc/self/task/{tid}/stat").read_text().rpartition(")")[2].split()[0] for tid in tids]


def wait() -> None:
    go.wait()
    answer.set()


def live_on(check: Check) -> None:
    while states()[0] != "Z":
        os.sched_yield()
    known = os.getpid(), os.getppid(), threading.get_native_id(), Path("/proc/self/comm").read_text()
    check.wait()
    check.equal(states()[0], "Z", "state of the main thread")
    now = os.getpid(), os.getppid(), threading.get_native_id(), Path("/proc/self/comm").read_text()
    check.equal(now, known, "ids and name")
    check.equal(len(states()), 3, "number of threads")
    go.set()
    check.that(answer.wait(10), "the other thread does not wake up")
    whole.__exit__(None, None, None)


whole = workload()
verdict = whole.__enter__()  # its signals are the main thread's to set up
threading.Thread(target=wait).start()
threading.Thread(target=live_on, args=(verdict,)).start()
libc.syscall(EXIT, 3)
