"""A JVM with many threads, direct and mapped memory and a kept connection is frozen and thawed, with each collector."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from integration import shims
from integration.containers import WORK
from integration.counting import checks
from integration.counting.container import CountingContainer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

HERE = Path(__file__).parent


@pytest.fixture
def java() -> str:
    return shims.binary("WOODFROG_TEST_JAVA", "the program java of a JDK, 17 or newer")


@pytest.mark.parametrize("collector", ["G1", "Z", "Shenandoah", "Parallel", "Serial"])
def test_server(java: str, collector: str, tmp_path: Path) -> None:
    command = f"{java} -Xmx256m -XX:+Use{collector}GC {WORK}/Server.java & exec python3 {WORK}/asker.py"
    with CountingContainer(tmp_path / "c", "java", ["/bin/sh", "-c", command]) as container:
        shutil.copy(HERE / "Server.java", container.work)
        shutil.copy(HERE.parent / "counting" / "asker.py", container.work)
        container.start()
        container.goes_on(beyond=20)
        checks.comes_back(container, "--tcp-established")
        checks.is_left_running_too(container, "--tcp-established")
        assert not (container.work / "wrong").exists(), (container.work / "wrong").read_text()
