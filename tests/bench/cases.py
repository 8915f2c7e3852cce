"""What is measured: small programs that are dumped and restored."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PYTHON = "/usr/bin/python3"
PATIENCE = 60.0

_WAIT = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open("ready", "w").close()
signal.sigwait([signal.SIGTERM])
"""

_MEMORY = """
import mmap
memory = mmap.mmap(-1, {size}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, {size}, 4096):
    memory[page : page + 8] = page.to_bytes(8, "little")
"""

# Instead of waiting: writes all the time, and notes its longest pause.
_BUSY = """
import os, signal, time
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
open("ready", "w").close()
gap, count, last = 0.0, 0, time.perf_counter()
while not ended:
    count += 1
    memory[count * 4096 % {size}] = count & 255
    now = time.perf_counter()
    gap, last = max(gap, now - last), now
with open("gap.new", "w") as file:
    file.write(str(gap))
os.rename("gap.new", "gap")
"""

_PROCESSES = """
import os, signal
for number in range({count} - 1):
    if os.fork() == 0:
        while True:
            signal.pause()
"""

_FILES = """
files = [open(f"file-{{number}}", "w+") for number in range({count})]
"""


@dataclass(frozen=True)
class Case:
    """A program in Python: it prepares, says that it is ready, and waits.

    One that is `busy` runs on after the dump (--leave-running), and notes its longest pause.
    """

    name: str
    title: str
    program: str
    busy: str = ""

    @contextmanager
    def running(self, directory: Path) -> Iterator[int]:
        """Its pid; whatever is left of it at the end is killed."""
        process = subprocess.Popen(
            [PYTHON, "-c", self.program + (self.busy or _WAIT)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_for(directory / "ready", process)
            yield process.pid
        finally:
            doomed = _kill_tree(process.pid) if process.poll() is None else []
            process.wait(PATIENCE)
            wait_gone(doomed)


MIB = 1 << 20
CASES = (
    Case("1mib", "1 MiB of dirty memory", _MEMORY.format(size=MIB)),
    Case("256mib", "256 MiB of dirty memory", _MEMORY.format(size=256 * MIB)),
    Case("1gib", "1 GiB of dirty memory", _MEMORY.format(size=1024 * MIB)),
    Case(
        "running",
        "1 GiB, runs on (its longest pause)",
        _MEMORY.format(size=1024 * MIB),
        _BUSY.format(size=1024 * MIB),
    ),
    Case("processes", "100 processes", _PROCESSES.format(count=100)),
    Case("files", "1,000 open files", _FILES.format(count=1000)),
)


def longest_pause(pid: int, directory: Path) -> float:
    """Seconds, of a busy program, which ends."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while not (directory / "gap").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return float((directory / "gap").read_text())


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the measured program did not get ready (status {process.returncode})")
        time.sleep(0.005)


def tree(root: int) -> list[int]:
    """Pids of a process and its descendants."""
    found = [root]
    for pid in found:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [int(word) for word in children.split()]
    return found


def end_tree(root: int) -> None:
    """Kill a process and its descendants, by pid, and wait until all are gone."""
    wait_gone(_kill_tree(root))


def _kill_tree(root: int) -> list[int]:
    doomed = tree(root)
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return doomed


def wait_gone(pids: list[int]) -> None:
    """Wait until nothing is left of these processes, not even a zombie."""
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.005)
