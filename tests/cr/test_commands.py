"""`woodfrog-criu dump` and `restore` as callers run them: scripts, logs, pid files, the command that takes over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cr.harness import Workload, wait_for

ENGINE = [sys.executable, "-m", "cr.cli"]
LINE = re.compile(r"\(\d\d\.\d{6}\) (?:(?:Error|Warn ) \(\S+:\d+\): )?.+")


def engine(*words: str, status: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(  # type: ignore[call-overload]
        [*ENGINE, *words, "--no-default-config"], capture_output=True, text=True, timeout=60, **options
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done  # type: ignore[no-any-return]


@pytest.fixture
def workload(tmp_path: Path) -> Iterator[Workload]:
    with Workload("plain", tmp_path) as running:
        running.images.mkdir()
        yield running


def restored(workload: Workload, pidfile: Path) -> None:
    """Find the root task that another process has restored, and let it check itself."""
    workload.restored = int(pidfile.read_text())
    workload.check()


SCRIPT = """#!/bin/sh
echo "$CRTOOLS_SCRIPT_ACTION $CRTOOLS_INIT_PID $CRTOOLS_IMAGE_DIR" >> "{log}"
"""


@pytest.mark.root
def test_action_scripts_know_what_happens(workload: Workload, tmp_path: Path) -> None:
    log, script = tmp_path / "actions", tmp_path / "a script"
    script.write_text(SCRIPT.format(log=log))
    script.chmod(0o755)
    images = str(workload.images)
    common = ["-D", images, "--action-script", str(script), "--pidfile", str(tmp_path / "pidfile"), "--display-stats"]
    done = engine("dump", "-t", str(workload.pid), *common)
    assert "Displaying dump stats:" in done.stdout
    assert [line.split() for line in log.read_text().splitlines()] == [
        [event, str(workload.pid), images] for event in ("pre-dump", "network-lock", "post-dump")
    ]
    workload._reap()
    log.unlink()
    done = engine("restore", *common, "-d")
    assert "Displaying restore stats:" in done.stdout
    seen = [line.split(" ") for line in log.read_text().splitlines()]
    assert [event for event, _, _ in seen] == [
        "pre-restore", "setup-namespaces", "post-setup-namespaces", "post-restore", "network-unlock", "pre-resume",
        "post-resume",
    ]  # fmt: skip
    root = (tmp_path / "pidfile").read_text()
    assert [pid for _, pid, _ in seen] == ["", *[root] * 6]
    restored(workload, tmp_path / "pidfile")


@pytest.mark.root
def test_a_script_that_fails_ends_the_dump(workload: Workload) -> None:
    line = 'test "$CRTOOLS_SCRIPT_ACTION" != post-dump'
    done = engine("dump", "-t", str(workload.pid), "-D", str(workload.images), "--action-script", line, status=1)
    assert "failed at post-dump with status 1" in done.stderr
    assert not (workload.images / "inventory.img").exists()
    workload.check()


@pytest.mark.root
def test_the_pid_file_is_there_for_scripts_and_goes_with_a_restore_that_fails(
    workload: Workload, tmp_path: Path
) -> None:
    engine("dump", "-t", str(workload.pid), "-D", str(workload.images))
    workload._reap()
    pidfile, line = (
        tmp_path / "pidfile",
        f"$CRTOOLS_SCRIPT_ACTION != setup-namespaces || kill -0 $(cat {tmp_path}/pidfile)",
    )
    common = ["restore", "-d", "-D", str(workload.images), "--pidfile", str(pidfile)]
    engine(*common, "--action-script", f"test {line} && test $CRTOOLS_SCRIPT_ACTION != post-restore", status=1)
    assert not pidfile.exists()
    pidfile.write_text("somebody else's")
    assert "there is such a file; remove it" in engine(*common, status=1).stderr
    assert pidfile.read_text() == "somebody else's"
    pidfile.unlink()
    engine(*common, "--action-script", f"test {line}")
    restored(workload, pidfile)


@pytest.mark.root
def test_the_command_becomes_the_parent(workload: Workload, tmp_path: Path) -> None:
    engine("dump", "-t", str(workload.pid), "-D", str(workload.images))
    workload._reap()
    pidfile = tmp_path / "pidfile"
    with subprocess.Popen(
        [*ENGINE, "restore", "-D", str(workload.images), "--pidfile", str(pidfile), "--exec-cmd", "--", "sleep", "60"]
    ) as command:
        try:
            name = Path(f"/proc/{command.pid}/comm")
            wait_for(lambda: name.read_text() == "sleep\n", "the command to take over")
            root = int(pidfile.read_text())
            assert f"PPid:\t{command.pid}\n" in Path(f"/proc/{root}/status").read_text()
            fds = [os.readlink(f"/proc/{command.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{command.pid}/fd")]
            assert not [link for link in fds if "images" in link or ("[" in link and "pipe" not in link)]
            restored(workload, pidfile)
        finally:
            command.kill()


@pytest.mark.root
def test_a_restore_in_the_foreground_ends_with_the_root_task(workload: Workload, tmp_path: Path) -> None:
    """However that ends: a status of 1 would say that the restore failed."""
    engine("dump", "-t", str(workload.pid), "-D", str(workload.images))
    workload._reap()
    pidfile = tmp_path / "pidfile"
    command = [*ENGINE, "restore", "-D", str(workload.images), "--pidfile", str(pidfile)]
    with subprocess.Popen(command) as running:
        try:
            root = int(wait_for(lambda: pidfile.exists() and pidfile.read_text(), "the pid file"))
            wait_for(lambda: "TracerPid:\t0" in Path(f"/proc/{root}/status").read_text(), "the task to run")
            assert running.poll() is None
            os.kill(root, signal.SIGKILL)
            assert running.wait(20) == 0
        finally:
            running.kill()


@pytest.mark.root
def test_logs(workload: Workload, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    common = ["-D", str(workload.images), "-W", str(work), "-v4", "--log-pid"]
    engine("dump", "-t", str(workload.pid), *common, "-o", "dump.log", "-R")
    own = (work / f"dump.log.{workload.pid}").read_text()
    assert "dumping task" in own and "dumping task" not in (work / "dump.log").read_text()
    workload.check()
    done = engine("restore", *common, "-o", "restore.log", "--external", "disk[x]", status=1)
    text = (work / "restore.log").read_text()
    assert "Error (" in text and "Restoring FAILED." in text
    assert all(LINE.fullmatch(line) for line in (text + own).splitlines())
    assert done.stderr.startswith("woodfrog-criu: --external disk[x]")


@pytest.mark.root
def test_descriptors_left_open_are_closed(workload: Workload) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    words = ["-D", str(workload.images), "--close", str(writing), "--status-fd", str(writing)]
    done = engine("dump", "-t", str(workload.pid), *words, status=1, close_fds=False)
    os.close(writing)
    assert f"--status-fd {writing}: that is no open descriptor" in done.stderr
    assert os.read(reading, 10) == b""
    os.close(reading)
    workload.check()
