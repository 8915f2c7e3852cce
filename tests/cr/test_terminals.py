"""Terminals through freeze and thaw."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import cr
from cr.kernel import terminals
from cr.model import CheckpointError, Refused
from cr.resources.terminals.terminal_build import allocate
from tests.cr.harness import Workload, wait_for

pytestmark = pytest.mark.root


def test_terminals_with_a_session(tmp_path: Path) -> None:
    with Workload("terminals", tmp_path) as workload:
        workload.cycle()


def test_a_dump_that_leaves_running_takes_nothing_out_of_a_terminal(tmp_path: Path) -> None:
    with Workload("terminals", tmp_path) as workload:
        workload.dump(leave_running=True)
        workload.check()


def test_a_terminal_whose_other_end_is_outside_is_refused_or_handed_over(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    index = terminals.index_of(master)
    process = subprocess.Popen(["sleep", "1000"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    handed: list[int] = []

    def notify(event: str, pid: int, fd: int | None) -> None:
        if event == "orphan-pts-master" and fd is not None:
            handed.append(os.dup(fd))

    images = str(tmp_path / "images")
    with pytest.raises(Refused, match="--orphan-pts-master"):
        cr.dump(process.pid, images)
    cr.dump(process.pid, images, orphan_pts_master=True)
    process.wait()
    os.close(master)
    restored = cr.restore(images, orphan_pts_master=True, notify=notify).pid
    try:
        assert [terminals.index_of(fd) for fd in handed] == [index]
        assert os.readlink(f"/proc/{restored}/fd/0") == f"/dev/pts/{index}"
    finally:
        os.kill(restored, 9)
        os.waitpid(restored, 0)
        for fd in handed:
            os.close(fd)


def test_a_job_comes_back_to_the_controlling_terminal_of_the_restore(tmp_path: Path) -> None:
    """As of a script that runs in a terminal, with all its streams in files."""
    master, slave = pty.openpty()
    process = subprocess.Popen(["sleep", "1000"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    images, null = str(tmp_path / "images"), subprocess.DEVNULL
    cr.dump(process.pid, images, shell_job=True)
    process.wait()
    command = [sys.executable, "-m", "cr.cli", "restore", "-d", "-D", images, "--shell-job", "--pidfile", "pid"]
    in_terminal = [sys.executable, "-c", _IN_TERMINAL, str(slave), *command]
    subprocess.run(in_terminal, pass_fds=[slave], stdin=null, stdout=null, start_new_session=True, check=True)
    restored = int((tmp_path / "images/pid").read_text())
    assert os.readlink(f"/proc/{restored}/fd/0") == os.ttyname(slave)
    os.kill(restored, 9)
    (tmp_path / "images/pid").unlink()
    done = subprocess.run(command, stdin=null, capture_output=True, text=True, start_new_session=True, check=False)
    assert done.returncode == 1
    assert "--shell-job needs a terminal" in done.stderr
    os.close(master)
    os.close(slave)


_IN_TERMINAL = """
import fcntl, subprocess, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
sys.exit(subprocess.run(sys.argv[2:]).returncode)
"""


def test_a_number_is_allocated_by_taking_the_lower_ones_for_a_moment() -> None:
    taken = [os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY) for _ in range(2)]
    wanted = max(terminals.index_of(fd) for fd in taken)
    for fd in taken:
        os.close(fd)
    fd = wait_for(lambda: allocate(_open_ptmx, wanted), "the number")
    try:
        assert terminals.index_of(fd) == wanted
        with pytest.raises(CheckpointError, match="in use"):
            allocate(_open_ptmx, wanted)
    finally:
        os.close(fd)


def _open_ptmx() -> int:
    return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
