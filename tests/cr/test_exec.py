"""System calls by name in another task."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cr.cli import main
from cr.model import CheckpointError
from cr.syscall_exec import build, describe
from tests.cr.harness import Workload


def test_arguments() -> None:
    program, pieces = build(["openat", "-100", "&/foo/bar", "0x2", "0755"])
    call = program.calls[0]
    assert (call.name, call.arguments) == ("openat", (-100, pieces[0], 2, 0o755))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "needs the name of a system call"),
        (["opn"], "no system call 'opn'; is open meant"),
        (["close", "one"], "'one' is not a number; text for the task's memory begins with &"),
        (["close", "99999999999999999999999"], "does not fit into 64 bits"),
        (["exit", "1"], "does not return"),
        (["close", *"1234567"], "six arguments at most, not 7"),
    ],
)
def test_what_is_no_call(words: list[str], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        build(words)


def test_calls_are_shown_as_strace_shows_them() -> None:
    shown = describe(["open", "&/foo", "2"], 3, [b"/foo\0"])
    assert shown == 'open(filename="/foo", flags=2) = 3'
    assert describe(["close", "9"], -9, []) == "close(fd=9) = -1 EBADF (Bad file descriptor)"


@pytest.mark.root
def test_a_call_in_a_task(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Workload("plain", tmp_path) as workload:
        pid = ("exec", "-t", str(workload.pid))
        assert main([*pid, "open", "&/dev/null", "2"]) == 0
        shown, _, fd = capfd.readouterr().out.strip().rpartition(" = ")
        assert shown == 'open(filename="/dev/null", flags=2)'
        assert os.readlink(f"/proc/{workload.pid}/fd/{fd}") == "/dev/null"
        assert main([*pid, "close", fd]) == 0
        assert main([*pid, "close", fd]) == 1
        assert "EBADF" in capfd.readouterr().out
        assert main([*pid, "getcwd", "&" + "x" * 200, "200"]) == 0
        assert f'"{tmp_path}"' in capfd.readouterr().out
        workload.check()


def test_exec_needs_a_task(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", "getpid"]) == 1
    assert "use -t PID" in capfd.readouterr().err
