"""What stays outside of the images: how it is written, and that it is handed over."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

import cr
from cr import stdio
from cr.contract.outside import FORMS, Outside, parse_external
from cr.kernel import proc
from cr.model import CheckpointError
from cr.options import Options
from tests.cr.harness import Workload, wait_for


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mnt[/dev]:NAME", ("mnt", "/dev", "NAME")),
        ("mnt[]", ("mnt", "", "")),
        ("mnt[]:ms", ("mnt", "", "ms")),
        ("mnt[/a]:b:c", ("mnt", "/a", "b:c")),
        ("dev[8/1]:root", ("dev", "8/1", "root")),
        ("file[1f:2a]", ("file", "1f:2a", "")),
        ("tty[8800:1f]", ("tty", "8800:1f", "")),
        ("unix[4711]", ("unix", "4711", "")),
        ("net[42]:outer", ("net", "42", "outer")),
        ("pid[42]:outer", ("pid", "42", "outer")),
        ("veth[eth0]:veth7@bridge", ("veth", "eth0", "veth7@bridge")),
        ("macvlan[m0]:eth0", ("macvlan", "m0", "eth0")),
        ("netdev[d0]:eth1", ("netdev", "d0", "eth1")),
    ],
)
def test_every_form_of_the_manual(text: str, parts: tuple[str, str, str]) -> None:
    assert parse_external(text) == parts


def test_what_is_no_resource_is_left_out() -> None:
    found = Outside.of(Options(external=["apparmor:unconfined", "mnt[/a]:b"]))
    assert found.external["mnt"] == {"/a": "b"}


@pytest.mark.parametrize(
    ("option", "text", "sentence"),
    [
        ("external", "disk[x]", "the kinds are mnt"),
        ("external", "net[x]:y", r"write it as net\[INODE\]:NAME"),
        ("external", "net[7]", r"write it as net\[INODE\]:NAME"),
        ("external", "mnt", r"--external mnt: write it as"),
        ("external", "file[/etc/hosts]", r"write it as file\[MNT_ID:INODE\]"),
        ("external", "macvlan[m0]", "write it as macvlan"),
        ("ext_mount_map", "here", "KEY:VALUE, or auto"),
        ("veth_pair", "eth0", "INNER=OUTER"),
        ("inherit_fd", "5:pipe", r"fd\[NUMBER\]:RESOURCE"),
        ("join_ns", "pid:7", "handed over with --external pid"),
        ("join_ns", "disk:7", "KIND one of net"),
        ("join_ns", "net:7,1,2", "user:FILE,UID,GID"),
        ("empty_ns", "mnt", "only the net namespace"),
    ],
)
def test_how_to_write_it(option: str, text: str, sentence: str) -> None:
    options = Options(**{option: [text]})
    with pytest.raises(CheckpointError, match=sentence):
        Outside.of(options)


def test_older_spellings_mean_the_same() -> None:
    options = Options(ext_mount_map=["/a:b", "auto"], veth_pair=["eth0=v1"], external=["veth[eth1]:v2"])
    options.inherit_fd = ["fd[5]:pipe[7]", "fd[6]:socket:[8]", "fd[7]:/memfd:x", "fd[8]:tty[1:2]"]
    found = Outside.of(options)
    assert found.external["mnt"] == {"/a": "b", "": ""}
    assert found.links == ["veth[eth1]:v2", "veth[eth0]:v1"]
    assert found.inherited == {"pipe:[7]": 5, "socket:[8]": 6, "/memfd:x": 7, "tty[1:2]": 8}
    assert set(found.external) == set(FORMS)


def test_hexadecimal_and_decimal_keys() -> None:
    found = Outside.of(Options(external=["file[31:1234]", "net[17]:outer"]))
    assert found.name("file", "1f:4d2", "31:1234") == "file[31:1234]"
    assert found.name("file", "1:2") is None
    assert (found.namespace("net", 17), found.namespace("pid", 17)) == ("outer", None)


@pytest.mark.root
@pytest.mark.parametrize("base", ["x", "d"], ids=["hexadecimal", "decimal"])
def test_an_external_terminal_and_a_memfd_are_handed_over(base: str, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    other_master, other_slave = pty.openpty()
    memory = os.memfd_create("ours")
    os.write(memory, b"after")
    status = os.fstat(slave)
    name = f"tty[{status.st_rdev:{base}}:{status.st_dev:{base}}]"
    try:
        with Workload("outside_terminal", tmp_path, stdin=slave) as workload:
            workload.dump(external=[name])
            with pytest.raises(CheckpointError, match=r"was left outside: give one with --inherit-fd fd\[N\]:tty\["):
                workload.restore()
            tty.setraw(other_slave)
            workload.restore(inherit_fd=[f"fd[{other_slave}]:{name}", f"fd[{memory}]:/memfd:shared"])
            workload.check()
            assert os.read(other_master, 100) == b"to the new terminal"
    finally:
        for fd in (master, slave, other_master, other_slave, memory):
            os.close(fd)


@pytest.mark.root
def test_an_external_terminal_controls_its_session_again(tmp_path: Path) -> None:
    """When the other end of the new one is closed, the session is hung up."""
    master, slave = pty.openpty()
    other_master, other_slave = pty.openpty()
    status, images = os.fstat(slave), str(tmp_path / "images")
    name = f"tty[{status.st_rdev:x}:{status.st_dev:x}]"
    process = subprocess.Popen(["setsid", "--ctty", "sleep", "1000"], stdin=slave, stdout=slave, stderr=slave)
    wait_for(lambda: proc.stat(process.pid).comm == "sleep", "the program")
    cr.dump(process.pid, images, external=[name])
    process.wait()
    pid = cr.restore(images, inherit_fd=[f"fd[{other_slave}]:{name}"]).pid
    assert proc.stat(pid).terminal == os.fstat(other_slave).st_rdev
    assert proc.stat(pid).tty_pgrp == pid
    os.close(other_slave)
    os.close(other_master)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGHUP
    os.close(master)
    os.close(slave)


@pytest.mark.root
def test_a_memfd_that_is_handed_over_stays_where_its_giver_has_it(tmp_path: Path) -> None:
    """As pipes and files do: the images' own position is that in the memory which was left behind."""
    memory = os.memfd_create("ours")
    os.write(memory, b"a")
    try:
        with Workload("outside_terminal", tmp_path) as workload:
            fdinfo = f"/proc/{workload.pid}/fdinfo/{memfd_of(workload.pid)}"
            assert "pos:\t1\n" not in Path(fdinfo).read_text()
            workload.dump()
            workload.restore(inherit_fd=[f"fd[{memory}]:/memfd:shared"])
            assert "pos:\t1\n" in Path(fdinfo).read_text()
            os.lseek(memory, 3, os.SEEK_SET)
            assert "pos:\t3\n" in Path(fdinfo).read_text()
    finally:
        os.close(memory)


def memfd_of(pid: int) -> str:
    directory = f"/proc/{pid}/fd"
    return next(fd for fd in os.listdir(directory) if os.readlink(f"{directory}/{fd}").startswith("/memfd:"))


def test_a_shell_in_the_middle_of_a_redirection_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own standard output, a file of the host, is set aside while a built-in command writes into a file."""
    looks: Iterator[list[str | None]] = iter([["", None, ""], ["", None, ""], ["", "file[1:2]", ""], []])
    now: list[str | None] = []

    def host_file(_pid: int | str, fd: int, _mounts: set[int]) -> str | None:
        if fd == 0:
            now[:] = next(looks)
        return now[fd]

    monkeypatch.setattr(stdio, "host_file", host_file)
    assert stdio.host_files("self") == ["", "file[1:2]", ""]
    assert next(looks) == []
    monkeypatch.setattr(stdio, "host_file", lambda *_: None)
    assert stdio.host_files("self") == [""] * 3
