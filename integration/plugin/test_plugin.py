"""A device whose driver keeps state for an open file: refused by the engine, carried over by a plug-in."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cr.harness import alive, wait_for

pytestmark = pytest.mark.root
HERE = Path(__file__).parent
DEVICE = Path("/dev/cpu_dma_latency")
ENGINE = [sys.executable, "-m", "cr.cli"]


def engine(*words: str, status: int = 0) -> str:
    done = subprocess.run([*ENGINE, *words, "--no-default-config"], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stderr


def in_force() -> int:
    """The strictest latency that anybody asks for now, in microseconds."""
    with DEVICE.open("rb") as file:
        value: int = struct.unpack("<i", file.read(4))[0]
        return value


@pytest.mark.skipif(not DEVICE.exists(), reason="this kernel lacks /dev/cpu_dma_latency")
def test_a_plug_in_carries_a_device_over(tmp_path: Path) -> None:
    told, images = tmp_path / "told", str(tmp_path / "images")
    os.mkdir(images)
    before, null = in_force(), subprocess.DEVNULL
    command = [sys.executable, str(HERE / "workload.py"), str(told)]
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True) as process:
        pid = process.pid
        try:
            wait_for(told.exists, "the workload")
            assert "is a character device (10:" in engine("dump", "-t", str(pid), "-D", images, status=1)
            engine("dump", "-t", str(pid), "-D", images, "--libdir", str(HERE / "plugins"))
        finally:
            process.kill()
    assert in_force() == before
    said = engine("restore", "-D", images, "-d", status=1)
    assert "was saved by the plug-in cpu-latency, which is not here" in said
    engine("restore", "-D", images, "-d", "--libdir", str(HERE / "plugins"))
    try:
        assert in_force() == 40
        told.unlink()
        os.kill(pid, signal.SIGUSR1)
        wait_for(told.exists, "the workload, restored")
        assert told.read_text() == "40"
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the end")
