"""The first process of a created container, which waits for its start, ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.init.waiting import Wait
from tests.runtime.bundle import Bundle, wait_for

# `create`, with a child that is held up between telling that it waits and waiting
SLOW = """
import sys, time
import runtime.init.waiting as waiting
real = waiting.Wait.until_start
def slow(self):
    time.sleep(1)
    real(self)
waiting.Wait.until_start = slow
from runtime.main import main
sys.exit(main())
"""


@pytest.mark.root
def test_a_signal_right_after_create(bundle: Bundle) -> None:
    bundle.shell("true")
    bundle.program = [sys.executable, "-c", SLOW]
    bundle.detached("create", "--pid-file", str(bundle.path / "pid"), bundle.id)
    os.kill(int((bundle.path / "pid").read_text()), signal.SIGTERM)
    bundle.program = [sys.executable, "-m", "runtime.main"]
    wait_for(lambda: json.loads(bundle.ok("state", bundle.id))["status"] == "stopped", "the end")


def blocked_in_read() -> bool:
    """Whether our main thread is in read(2)."""
    return Path(f"/proc/self/task/{os.getpid()}/syscall").read_text().startswith("0 ")


def fate_of(place: Path, wait_in: Callable[[Wait], int], said: bytes = b"") -> int:
    """The exit code of a child that waits on a FIFO, in which `said` is."""
    os.mkfifo(place / "fifo")
    fifo = os.open(place / "fifo", os.O_RDWR)
    bell = os.open(place / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    if said:
        os.write(fifo, said)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = wait_in(Wait(fifo, bell))
        finally:
            os._exit(code)
    try:
        wait_for(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the end")
    finally:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        os.close(fifo)
        os.close(bell)
    return os.waitstatus_to_exitcode(status)


def signal_once_it_reads() -> None:
    wait_for(blocked_in_read, "the main thread's read")
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


def test_a_signal_that_does_not_interrupt_the_read(tmp_path: Path) -> None:
    """As one that comes just before it: here another thread takes it."""

    def wait_in(wait: Wait) -> int:
        threading.Thread(target=signal_once_it_reads, daemon=True).start()
        wait.until_start()
        return 1

    assert fate_of(tmp_path, wait_in) == 128 + signal.SIGTERM


def test_the_start_ends_the_wait_and_its_handlers(tmp_path: Path) -> None:
    def wait_in(wait: Wait) -> int:
        before = len(os.listdir("/proc/self/fd"))
        wait.until_start()
        defaults = all(signal.getsignal(number) is signal.SIG_DFL for number in (1, 2, 15))
        return 0 if defaults and len(os.listdir("/proc/self/fd")) < before else 2

    assert fate_of(tmp_path, wait_in, b"0") == 0
