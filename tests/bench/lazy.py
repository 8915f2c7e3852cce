"""How soon a large program answers: a redis-server with 1 GiB, restored whole and with --lazy-pages."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NAME = "lazy"
HEAD = ("a redis-server with 1 GiB", "restore", "first answer")
KEYS = 1_000_000  # of 1,000 bytes each
PATIENCE = 60.0
ENGINE = str(Path(sys.executable).parent / "woodfrog-criu")


def server() -> str | None:
    return shutil.which("redis-server")


def measure(runs: int) -> list[list[str]]:
    """The rows of the table: medians of runs in turns."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        port = _free_port()
        _dumped(place, port)
        samples: dict[str, list[float]] = {"whole": [], "lazy": []}
        for number in range(runs + 1):
            for name, restored in (("whole", _whole), ("lazy", _lazy)):
                with restored(place) as began:
                    _until_answered(port, b"GET key:1\r\n")
                    took = time.perf_counter() - began
                if number:
                    samples[name].append(took)
    whole, lazy = (statistics.median(found) for found in samples.values())
    rows = [["", "whole", f"{whole * 1e3:,.1f} ms"], ["", "lazy", f"{lazy * 1e3:,.1f} ms"]]
    return [*rows, ["", "ratio", f"{lazy / whole:.2f}"]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dumped(place: Path, port: int) -> None:
    """Images of a server with its keys, in `place`."""
    command = [server() or "", "--port", str(port), "--save", "", "--enable-debug-command", "yes"]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=place, stdin=null, stdout=null, stderr=null, start_new_session=True) as process:
        try:
            _until_answered(port, b"PING\r\n")
            _until_answered(port, b"DEBUG POPULATE %d key 1000\r\n" % KEYS)
            _engine("dump", place, "-t", str(process.pid))
        except BaseException:
            process.kill()
            raise


def _engine(command: str, place: Path, *options: str) -> None:
    words = [ENGINE, command, "-D", str(place), "-o", f"{command}.log", *options]
    subprocess.run(words, stdin=subprocess.DEVNULL, check=True)


def _until_answered(port: int, question: bytes) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(question)
            if client.recv(4096):
                return
        time.sleep(0.001)
    raise RuntimeError(f"redis-server does not answer {question!r}")


@contextlib.contextmanager
def _whole(place: Path) -> Iterator[float]:
    """Restored for the length of the block; when that began (time.perf_counter)."""
    began = time.perf_counter()
    with _ended_at_last(place, lambda: _engine("restore", place, "-d", "--pidfile", "pid")):
        yield began


@contextlib.contextmanager
def _lazy(place: Path) -> Iterator[float]:
    began = time.perf_counter()
    _engine("lazy-pages", place, "-d")
    with _ended_at_last(place, lambda: _engine("restore", place, "-d", "--pidfile", "pid", "--lazy-pages")):
        yield began


@contextlib.contextmanager
def _ended_at_last(place: Path, restore: Callable[[], None]) -> Iterator[None]:
    pidfile = place / "pid"
    pidfile.unlink(missing_ok=True)
    restore()
    pid = int(pidfile.read_text())
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
