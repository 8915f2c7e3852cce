"""Processes in pid namespaces below this one's: two levels, a session and a group each, threads, a zombie, an orphan.

Every process says who it is, as it sees itself and those around it; nothing of that may change.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

from lib import DIRECTORY, workload

CLONE_NEWPID = 0x20000000
libc = ctypes.CDLL(None, use_errno=True)


def levels(name: str, pid: int | str = "thread-self") -> list[str]:
    """The ids of a process from its own pid namespace's point of view on, as /proc (of the outermost one) lists them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(name))


def self_portrait(tids: list[int]) -> object:
    told = {name: levels(name) for name in ("NSpid", "NStgid", "NSpgid", "NSsid")}
    seen = os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), sorted(tids)
    return told, seen, os.readlink("/proc/self/ns/pid") == os.readlink("/proc/self/ns/pid_for_children")


class Person:
    """A forked process that does one thing, then waits to be asked how it is."""

    def __init__(self, do: object = None, *, unshare: int = 0) -> None:
        self._answer, answering = os.pipe()
        asked, self._question = os.pipe()
        if unshare:
            assert libc.unshare(unshare) == 0, os.strerror(ctypes.get_errno())
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._live(do, asked, answering)
            finally:
                os._exit(1)

    def _live(self, do: object, asked: int, answering: int) -> None:
        tids: list[int] = []
        held = threading.Event()
        below = do(tids, held) if callable(do) else []
        before = self_portrait(tids)
        os.write(answering, b"r")
        while os.read(asked, 1):
            after = self_portrait(tids)
            faults = [] if after == before else [f"{before} is now {after}"]
            faults += [fault for person in below for fault in person.ask()]
            os.write(answering, ("\n".join(faults) or "well").encode())

    def ready(self) -> Person:
        assert os.read(self._answer, 1) == b"r"
        return self

    def ask(self) -> list[str]:
        os.write(self._question, b"?")
        answer = os.read(self._answer, 1 << 16).decode()
        return [] if answer == "well" else [answer or f"{self.pid} is gone"]
