"""--allow-uprobes: a task that a uprobe was hit in has a page of the kernel's that stays where it is."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cr
from cr.kernel.mounts import MNT_DETACH, mount, umount2
from cr.model import CheckpointError
from tests.cr.harness import alive, wait_for

pytestmark = pytest.mark.root


def define(events: Path, line: str) -> None:
    """Append, without the seek that Python does."""
    fd = os.open(events, os.O_WRONLY | os.O_APPEND)
    os.write(fd, line.encode())
    os.close(fd)


@contextmanager
def probed(program: Path, directory: Path) -> Iterator[None]:
    """A uprobe at the entry of a program."""
    entry = struct.unpack_from("<Q", program.read_bytes(), 24)[0]
    directory.mkdir()
    try:
        mount("none", str(directory), "tracefs")
    except OSError:
        pytest.skip("this kernel lacks tracefs")
    events, name = directory / "uprobe_events", f"woodfrog{os.getpid()}/entry"
    try:
        if not events.exists():
            pytest.skip("this kernel lacks uprobes")
        define(events, f"p:{name} {program}:{entry:#x}\n")
        try:
            (directory / "events" / name / "enable").write_text("1")
            yield
        finally:
            (directory / "events" / name / "enable").write_text("0")
            define(events, f"-:{name}\n")
    finally:
        umount2(str(directory), MNT_DETACH)


def test_a_probed_task(tmp_path: Path) -> None:
    program, images, null = tmp_path / "program", str(tmp_path / "images"), subprocess.DEVNULL
    shutil.copy("/bin/sleep", program)
    with probed(program, tmp_path / "tracing"):
        command = [str(program), "1000"]
        with subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True) as process:
            pid = process.pid
            try:
                wait_for(lambda: "[uprobes]" in Path(f"/proc/{pid}/maps").read_text(), "the probe to be hit")
                with pytest.raises(CheckpointError, match=r"being probed .*: use --allow-uprobes"):
                    cr.dump(pid, images)
                cr.dump(pid, images, allow_uprobes=True)
            finally:
                process.kill()
        with pytest.raises(CheckpointError, match="were probed"):
            cr.restore(images)
        assert cr.restore(images, allow_uprobes=True).pid == pid
        assert alive(pid)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
