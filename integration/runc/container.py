"""Containers of runc, which finds this engine where it looks for criu."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from integration import shims
from integration.containers import PATIENCE, PROJECT, Container, wait_for
from integration.containers import run as run_command
from integration.shell.terminal import PROMPT, Terminal

SHELL = ["/bin/bash", "--norc", "--noprofile", "-i"]
COUNTER = Path(__file__).with_name("counter.sh")


class CountingContainer(Container):
    """By default its process is counter.sh, which counts in memory and in a file."""

    def __init__(self, place: Path, name: str, args: Sequence[str] = ()) -> None:
        super().__init__(place, name, args or ["/bin/bash", "-c", COUNTER.read_text()])

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
        found = re.search(r'"status": "(\w+)"', words)
        assert found
        return found[1]

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


class RuncContainer(CountingContainer):
    """A container of runc's, which finds this engine as criu."""

    def __init__(self, place: Path, name: str, args: Sequence[str] = ()) -> None:
        super().__init__(place, name, args)
        self.runtime = [shims.binary("WOODFROG_TEST_RUNC", "runc 1.1 or newer")]
        self.environment = shims.environment(PROJECT / ".pytest_cache" / "shim")


def comes_back_at_a_terminal(container: CountingContainer) -> None:
    """Its process, a shell, is asked over a console socket, before and after; the container is not started yet."""
    container.config["process"]["terminal"] = True
    container.config["process"]["env"] += [f"PS1={PROMPT}", "TERM=dumb"]
    with Terminal(container.place / "console") as terminal:
        container.start(console=str(terminal.path))
        terminal.take()
        terminal.read_until(PROMPT)
        terminal.command("answer=42")
        for number in (1, 2):
            container.checkpoint()
            container.restore(fresh=number == 2, console=str(terminal.path))
            terminal.take()
            assert terminal.command("echo $answer") == "42"
