"""A person at a terminal is told what takes long; a pipe gets nothing."""

from __future__ import annotations

import os
import pty
import sys
import time
from pathlib import Path

import pytest

from cr.guard import held
from cr.progress import Progress


def slow(_notify: object) -> int:
    time.sleep(0.3)
    return 7


def test_nothing_in_a_pipe(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    progress = Progress("dumping", str(tmp_path))
    assert progress.interval is None
    assert held(slow, None, progress) == 7
    assert capfd.readouterr() == ("", "")


def test_a_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()

    def until_told(_notify: object) -> str:
        said = b""
        while b"MiB" not in said:
            said += os.read(master, 65536)
        return said.decode()

    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        progress = Progress("dumping the tree", str(tmp_path))
        assert progress.interval is not None
        progress.interval = 0.05
        assert "dumping the tree: 0 MiB" in held(until_told, None, progress)
    os.close(master)
