"""checkpointctl(1) looks into an exported checkpoint of ours: what it shows is what was in the container."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import shims
from integration.containers import WOODFROG
from integration.podman.engine import IMAGE, Counter, Podman

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def archive() -> Iterator[Path]:
    """An archive that podman over woodfrog has exported."""
    shims.binary("WOODFROG_TEST_CHECKPOINTCTL", "checkpointctl 1")
    with tempfile.TemporaryDirectory(prefix="frog") as place, Podman(Path(place), WOODFROG[0]) as podman:
        Counter(podman, "exported", "--env", "FROG=frozen")
        path = Path(place) / "exported.tar.gz"
        podman("container", "checkpoint", "--export", str(path), "--compress", "gzip", "exported")
        yield path


def checkpointctl(*words: object) -> str:
    command = [shims.binary("WOODFROG_TEST_CHECKPOINTCTL", "checkpointctl 1"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspected(archive: Path, *options: str) -> str:
    return checkpointctl("inspect", archive, *options)


def test_show(archive: Path) -> None:
    text = checkpointctl("show", archive)
    assert "exported" in text
    assert IMAGE in text
    assert "Podman" in text


def test_processes_with_their_words_and_variables(archive: Path) -> None:
    text = inspected(archive, "--ps-tree-cmd", "--ps-tree-env")
    assert "[1]  /bin/bash -c" in text
    assert "FROG=frozen" in text


def test_open_files(archive: Path) -> None:
    text = inspected(archive, "--files")
    assert "[REG 0]  /dev/null" in text
    assert "[cwd]" in text


def test_mounts_sockets_and_statistics(archive: Path) -> None:
    text = inspected(archive, "--mounts", "--sockets", "--stats")
    assert "Destination: /proc" in text
    assert "Pages written" in text
    assert "Frozen time: " in text


def test_memory(archive: Path, tmp_path: Path) -> None:
    assert "bash" in checkpointctl("memparse", archive)
    output = tmp_path / "memory"
    checkpointctl("memparse", archive, "--pid", "1", "--output", output)
    assert "FROG=frozen" in output.read_text(errors="replace")
