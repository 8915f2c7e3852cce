"""Options that make no sense: one clear sentence, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

import cr
from cr.cli import main
from cr.model import CheckpointError


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["dump"], "dump: needs the pid"),
        (["dump", "-t1", "-R", "-s"], "--leave-running and --leave-stopped contradict each other"),
        (["dump", "-t1", "--tcp-established", "--tcp-close"], "contradict each other"),
        (["dump", "-t1", "--enable-fs", "all", "--external", "dev[8/1]:x"], "contradict each other"),
        (["dump", "-t1", "--stream"], "images are not streamed"),
        (["dump", "-t1", "--network-lock", "hope"], "--network-lock hope: it is one of nftables, iptables, skip"),
        (["dump", "-t1", "--manage-cgroups=maybe"], "--manage-cgroups maybe: it is one of none"),
        (["dump", "-t1", "--pre-dump-mode", "fast"], "it is one of splice, read"),
        (["dump", "-t1", "--external", "disk[x]"], "--external disk[x]: the kinds are"),
        (["dump", "-t1", "--close", "99"], "--close 99: that is no open descriptor"),
        (["dump", "-t1", "--", "true"], "dump does not know what to do with 'true'"),
        (["restore", "--inherit-fd", "fd[99]:pipe[7]"], "--inherit-fd fd[99]:pipe:[7]: that descriptor is not open"),
        (["restore", "--restore-sibling"], "makes sense only with --restore-detached"),
        (["restore", "--exec-cmd"], "--exec-cmd needs a command"),
        (["restore", "--exec-cmd", "--", "nonsense-program"], "there is no program nonsense-program"),
        (["restore", "--exec-cmd", "-dS", "--", "true"], "contradict each other"),
        (["restore", "--", "true"], "only with --exec-cmd"),
        (["restore", "--join-ns", "net"], "write it as KIND:PID"),
    ],
)
def test_one_sentence(words: list[str], sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([words[0], "-D", str(tmp_path), "--no-default-config", *words[1:]]) == 1
    said = capfd.readouterr().err
    assert sentence in said
    assert not list(tmp_path.iterdir())


def test_python_callers_are_told_too(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="contradict each other"):
        cr.dump(1, str(tmp_path), leave_running=True, leave_stopped=True)
