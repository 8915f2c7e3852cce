"""Processes go on from where they stood still: some of them right to their end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cr.harness import Workload, alive, wait_for

pytestmark = pytest.mark.root


def test_a_process_ends_while_its_threads_are_let_go(tmp_path: Path) -> None:
    """The restore was complete: it is no failure that some of the threads never came to run."""
    began = time.monotonic()
    with Workload("leaving", tmp_path, ["3"]) as work:
        work.dump()
        time.sleep(max(0.0, began + 3.5 - time.monotonic()))
        work.restore()
        wait_for(lambda: not alive(work.restored), "its end")
