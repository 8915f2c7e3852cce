"""The first process of a created container, which waits for its start, ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
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


def test_a_signal_that_does_not_interrupt_the_read(tmp_path: Path) -> None:
    """As one that comes just before it: here another thread takes it."""
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    bell = os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    pid = os.fork()
    if pid == 0:
        try:
            wait = Wait(fifo, bell)
            threading.Thread(target=signal_once_it_reads, daemon=True).start()
            wait.until_start()
        finally:
            os._exit(1)
    try:
        wait_for(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), "the end")
    finally:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        os.close(fifo)
        os.close(bell)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM


def signal_once_it_reads() -> None:
    wait_for(blocked_in_read, "the main thread's read")
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


def test_the_start_ends_the_wait_and_its_handlers(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    bell = os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    pid = os.fork()
    if pid == 0:
        try:
            wait = Wait(fifo, bell)
            os.write(fifo, b"0")
            wait.until_start()
            defaults = all(signal.getsignal(number) is signal.SIG_DFL for number in (1, 2, 15))
            os._exit(0 if defaults and not Path(f"/proc/self/fd/{bell}").exists() else 2)
        finally:
            os._exit(1)
    os.close(fifo)
    os.close(bell)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
