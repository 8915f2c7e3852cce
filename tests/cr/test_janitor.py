"""What is remembered is undone: on failure, and when we are killed."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from cr.remote.janitor import Undo
from tests.cr.harness import wait_for


def test_actions_run_last_first(tmp_path: Path) -> None:
    undo = Undo()
    inner = tmp_path / "directory" / "file"
    inner.parent.mkdir()
    undo.append(partial(os.rmdir, inner.parent))
    inner.touch()
    undo.append(partial(os.unlink, inner))
    assert undo.run() == []
    assert not inner.parent.exists()


def test_nothing_happens_after_forget(tmp_path: Path) -> None:
    undo = Undo()
    (tmp_path / "file").touch()
    undo.append(partial(os.unlink, tmp_path / "file"))
    undo.forget()
    assert (tmp_path / "file").exists()


def test_what_cannot_be_undone_is_told(tmp_path: Path) -> None:
    undo = Undo()
    undo.append(partial(os.rmdir, tmp_path.parent))
    assert len(undo.run()) == 1


def test_a_lambda_is_no_action() -> None:
    with pytest.raises((AttributeError, TypeError, Exception), match="pickle"):
        Undo().append(lambda: None)


def test_killed_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        undo = Undo()
        undo.append(partial(os.unlink, tmp_path / "file"))
        os.write(write, b".")
        signal.pause()
    os.read(read, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    wait_for(lambda: not (tmp_path / "file").exists(), "the janitor to clean up")
