"""Containers whose process counts, for whichever runtime."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from integration.containers import PATIENCE, Container, wait_for
from integration.containers import run as run_command

COUNTER = Path(__file__).with_name("counter.sh").read_text()
TALKER = Path(__file__).with_name("talker.py").read_text()


class CountingContainer(Container):
    """By default its process is counter.sh, which counts in memory and in a file."""

    def __init__(self, place: Path, name: str, args: Sequence[str] = ()) -> None:
        super().__init__(place, name, args or ["/bin/bash", "-c", COUNTER])

    @classmethod
    @contextmanager
    def counting(cls, tmp_path: Path, name: str, args: Sequence[str] = ()) -> Iterator[Self]:
        """One that has been started, and counts."""
        with cls(tmp_path / "c", f"{cls.__name__.lower()}-{name}", args) as container:
            container.start()
            container.goes_on(beyond=2)
            yield container

    @classmethod
    def talking(cls, tmp_path: Path) -> AbstractContextManager[Self]:
        """One that counts what goes over a TCP connection inside of it."""
        return cls.counting(tmp_path, "tcp", ["/usr/bin/python3", "-c", TALKER])

    def count(self) -> int:
        """How far it has counted."""
        wait_for((self.work / "count").exists, "the first number")
        return int((self.work / "count").read_text())

    def goes_on(self, beyond: int) -> None:
        """It counts beyond a number, and has never started anew."""
        wait_for(lambda: self.count() > beyond, f"the container to count beyond {beyond}: {self.count()}")
        assert (self.work / "starts").read_text().count("start") == 1

    def status(self) -> str:
        words = run_command(*self.runtime, "--root", str(self.place / "state"), "state", self.name)
        return str(json.loads(words)["status"])

    def first(self) -> tuple[int, str]:
        """The pid of its first process, and when that was started: no other has both."""
        words = run_command(*self.runtime, "--root", str(self.place / "state"), "state", self.name)
        pid = int(json.loads(words)["pid"])
        return pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]

    def snapshot(self, *options: str) -> None:
        """A checkpoint after which it is still there."""
        self.rounds += 1
        self.verb("checkpoint", "--image-path", str(self.images), "--work-path", str(self.images), *options, self.name)

    @contextmanager
    def pipes(self) -> Iterator[None]:
        """Inside the block verbs get pipes as standard descriptors; `ask` writes to one and reads from the other."""
        below, above = os.pipe(), os.pipe()
        self.standard = (below[0], above[1], above[1])
        self._talk = (below[1], above[0])
        try:
            yield
        finally:
            self.standard = None
            for fd in (below[0], above[1]):
                os.close(fd)

    def ask(self, word: str) -> str:
        """Write a line, read a line."""
        os.write(self._talk[0], f"{word}\n".encode())
        ready, _, _ = select.select([self._talk[1]], [], [], PATIENCE)
        assert ready, f"no answer to {word}"
        return os.read(self._talk[1], 4096).decode().strip()

    def explanation(self) -> str:
        """With what the engine's logs say of errors."""
        found = [path.read_text(errors="replace") for path in self.images.glob("*.log")]
        lines = [line for text in found for line in text.splitlines() if "Error" in line or "Warn" in line]
        return "\n".join([super().explanation(), *lines])
