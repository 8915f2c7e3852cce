"""Who asks a command to end is heard, wherever the signal comes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from cr.guard import Interrupted, interruptible
from cr.swallowed import insist
from tests.cr.harness import PATIENCE


class Swallows:
    """What its destructor raises is thrown away."""

    def __init__(self, signo: int) -> None:
        self.signo = signo

    def __del__(self) -> None:
        os.kill(os.getpid(), self.signo)


@pytest.fixture(autouse=True)
def insistent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("sys.unraisablehook", None)
    insist()
    handler, timer = (
        signal.getsignal(signal.SIGALRM),
        signal.setitimer(signal.ITIMER_REAL, 0),
    )  # those of pytest-timeout
    yield
    left = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, *timer)
    assert left == (handler, (0.0, 0.0))


def work(signo: int) -> None:
    """A while; only an exception ends it early."""
    deadline = time.monotonic() + PATIENCE
    Swallows(signo)
    while time.monotonic() < deadline:
        pass


def test_control_c_is_heard() -> None:
    with pytest.raises(KeyboardInterrupt):
        work(signal.SIGINT)


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_what_asks_to_give_up_is_heard(signo: signal.Signals) -> None:
    with pytest.raises(Interrupted), interruptible():
        work(signo)


def test_other_errors_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError("told as ever")

    Fails()
    assert "Exception ignored in" in (shown := capsys.readouterr().err) and "told as ever" in shown
