"""A Go server with many goroutines, children that come and go and a kept connection is frozen and thawed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from integration import shims
from integration.containers import WORK
from integration.counting import checks
from integration.counting.container import CountingContainer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

HERE = Path(__file__).parent


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The program, compiled."""
    go = shims.binary("WOODFROG_TEST_GO", "the program go, 1.19 or newer")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GO111MODULE": "off",
        "GOCACHE": str(tmp_path / "go"),
    }
    command = [go, "build", "-o", str(tmp_path / "server"), str(HERE / "server.go")]
    subprocess.run(command, check=True, env=environment, timeout=200)
    return tmp_path / "server"


def test_server(server: Path, tmp_path: Path) -> None:
    command = f"{WORK}/server & exec python3 {WORK}/asker.py"
    with CountingContainer(tmp_path / "c", "golang", ["/bin/sh", "-c", command]) as container:
        shutil.copy(server, container.work)
        shutil.copy(HERE.parent / "counting" / "asker.py", container.work)
        container.start()
        container.goes_on(beyond=20)
        checks.comes_back(container, "--tcp-established")
        checks.is_left_running_too(container, "--tcp-established")
        assert not (container.work / "wrong").exists(), (container.work / "wrong").read_text()
