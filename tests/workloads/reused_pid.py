"""Open files of /proc of a process that has ended, whose pid is that of another now, or of a thread of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lib import workload

LAST = Path("/proc/sys/kernel/ns_last_pid")


def fork() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
        os._exit(0)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def process_again(pid: int) -> bool:
    LAST.write_text(str(pid - 1))
    child = fork()
    if child != pid:
        end(child)
    return child == pid


def thread_again(pid: int) -> bool:
    LAST.write_text(str(pid - 1))
    thread = threading.Thread(target=time.sleep, args=(1000,), daemon=True)
    thread.start()
    return thread.native_id == pid


def facts() -> list[str]:
    """Where they stand, and what comes of using them."""
    info = Path(f"/proc/self/fdinfo/{status}").read_text()
    return [
        info.splitlines()[0],
        *map(outcome, (lambda: os.stat("status", dir_fd=directory), lambda: os.read(status, 100))),
    ]


def outcome(look: Callable[[], object]) -> str:
    try:
        return f"{look()!r}"
    except OSError as error:
        return error.strerror or ""


def forget(fd: int) -> None:
    """What the kernel has read ahead: it goes with a read from elsewhere."""
    try:
        os.pread(fd, 1, 0)
    except ProcessLookupError:
        return


again = thread_again if "thread" in sys.argv else process_again
with workload() as check:
    dead = fork()
    status = os.open(f"/proc/{dead}/status", os.O_RDONLY)
    directory = os.open(f"/proc/{dead}", os.O_RDONLY | os.O_DIRECTORY)
    os.read(status, 10)
    end(dead)
    forget(status)
    for _ in range(100):
        if again(dead):
            break
    else:
        raise AssertionError(f"pid {dead} cannot be had again")
    before = facts()
    assert before[1:] == ["No such process", "No such process"], before
    check.wait()
    check.equal(facts(), before, "what is left of the dead")
    check.that(Path(f"/proc/self/task/{dead}" if again is thread_again else f"/proc/{dead}").exists(), "the other one")
    if again is process_again:
        end(dead)
