"""Containers of runc, which finds this engine where it looks for criu."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from integration import shims
from integration.containers import PROJECT, Container, wait_for
from integration.containers import run as run_command

COUNTER = Path(__file__).with_name("counter.sh")


class RuncContainer(Container):
    """A container of runc's; by default its process is counter.sh, which counts in memory and in a file."""

    def __init__(self, place: Path, name: str, args: Sequence[str] = ()) -> None:
        super().__init__(place, name, args or ["/bin/bash", "-c", COUNTER.read_text()])
        self.runtime = [shims.binary("WOODFROG_TEST_RUNC", "runc 1.1 or newer")]
        self.environment = shims.environment(PROJECT / ".pytest_cache" / "shim")

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

    def explanation(self) -> str:
        """With what the engine's logs say of errors."""
        found = [path.read_text(errors="replace") for path in self.images.glob("*.log")]
        lines = [line for text in found for line in text.splitlines() if "Error" in line or "Warn" in line]
        return "\n".join([super().explanation(), *lines])
