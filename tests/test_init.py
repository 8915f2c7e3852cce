"""The tests see nothing of the machine's users."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
INIT = Path(__file__).parent / "init.py"


def test_configuration_and_shared_memory_are_their_own(tmp_path: Path) -> None:
    (tmp_path / ".criu").mkdir()
    (tmp_path / ".criu/default.conf").write_text("tree 1\n")
    seen = "ls ~/.criu /dev/shm; findmnt -n -o FSTYPE,SOURCE /dev/shm | tail -1"
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        sys.executable,
        str(INIT),
        "sh",
        "-c",
        seen,
    ]
    done = subprocess.run(
        command, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True, timeout=60
    )
    assert "default.conf" not in done.stdout
    assert done.stdout.split()[-2:] == ["tmpfs", "tests"]
