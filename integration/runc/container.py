"""Containers of runc, which finds this engine where it looks for criu."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from integration import shims
from integration.containers import PROJECT
from integration.counting.container import CountingContainer


class RuncContainer(CountingContainer):
    """A container of runc's, which finds this engine as criu."""

    def __init__(self, place: Path, name: str, args: Sequence[str] = ()) -> None:
        super().__init__(place, name, args)
        self.runtime = [shims.binary("WOODFROG_TEST_RUNC", "runc 1.1 or newer")]
        self.environment = shims.environment(PROJECT / ".pytest_cache" / "shim")
