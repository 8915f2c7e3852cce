"""A tmux server with an attached client and programs in three panes is frozen and thawed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from integration.containers import WORK, program
from integration.counting import checks
from integration.counting.container import CountingContainer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


def test_server(tmp_path: Path) -> None:
    program("tmux", "tmux")
    with CountingContainer(tmp_path / "c", "tmux", ["python3", f"{WORK}/user.py"]) as container:
        container.config["process"]["env"] += ["LANG=C.UTF-8"]
        shutil.copy(Path(__file__).with_name("user.py"), container.work)
        container.start()
        container.goes_on(beyond=3)
        checks.comes_back(container)
