"""What a person at a terminal sees while something takes long; nothing at all elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

PATIENCE = 1.0  # seconds after which it is time to say something


class Progress:
    """A line that says what is done, how much is written to `directory`, and for how long."""

    def __init__(self, what: str, directory: str) -> None:
        self.what, self.directory = what, directory
        self.interval: float | None = PATIENCE if sys.stderr is not None and sys.stderr.isatty() else None
        self._began = time.monotonic()
        self._status: Status | None = None

    def tick(self) -> None:
        """Show the line, or bring it up to date."""
        text = f"{self.what}: {self._written() / 1048576:,.0f} MiB, {time.monotonic() - self._began:.0f} s"
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(text)
            self._status.start()
        self._status.update(text)

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()

    def _written(self) -> int:
        try:
            with os.scandir(self.directory) as entries:
                return sum(entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return 0
