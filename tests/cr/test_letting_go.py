"""Processes go on from where they stood still: some of them right to their end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cr.remote.tracee import Tracee
from tests.cr.harness import Workload, alive, wait_for

pytestmark = pytest.mark.root


def test_a_process_ends_while_its_threads_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The restore was complete: it is no failure that some of the threads never came to run."""

    def detach(self: Tracee) -> None:
        real(self)
        time.sleep(0.05)  # the main thread is the first of its process, and ends that meanwhile

    real = Tracee.detach
    with Workload("leaving", tmp_path) as work:
        work.dump()
        (tmp_path / "end").touch()
        monkeypatch.setattr(Tracee, "detach", detach)
        work.restore()
        wait_for(lambda: not alive(work.restored), "its end")
