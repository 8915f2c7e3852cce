"""Waiting for the kernel where it has no notification."""

from __future__ import annotations

import time


class Pause:
    """A deadline and sleeps that grow from 1 to 50 ms: check `over()`, then call it to sleep."""

    def __init__(self, deadline: float, first: float = 0.001, most: float = 0.05) -> None:
        self._end = time.monotonic() + deadline
        self._next, self._most = first, most

    def over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() > self._end

    def __call__(self) -> None:
        time.sleep(self._next)
        self._next = min(self._next * 2, self._most)
