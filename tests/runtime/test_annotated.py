"""Containers that create thaws and kill freezes, since their annotations say so; and the hooks beside that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runtime import checkpoints
from runtime.errors import ContainerError
from runtime.verbs.hook import hook_file
from tests.runtime.bundle import Bundle, environment, wait_for
from tests.runtime.freezing import count, goes_on

COUNT = (
    "[ -p /tmp/pause ] || mkfifo /tmp/pause; exec 9<>/tmp/pause; i=0;"
    "while :; do i=$((i+1)); echo $i >>/tmp/count; read -r -t 0.03 -u 9; done"
)
BOTH = (checkpoints.RESTORE, checkpoints.CHECKPOINT)


def test_places_are_below_the_one_for_them(tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (below / "out").symlink_to("/etc")
    name = checkpoints.RESTORE
    assert checkpoints.place_of({}, name, "/absent") == ""
    assert checkpoints.place_of({name: "a/b"}, name, str(below)) == str(below / "a/b")
    assert checkpoints.place_of({name: str(below / "c")}, name, str(below)) == str(below / "c")
    for text in ("..", ".", "a/../..", "/etc", "out", str(tmp_path / "below2")):
        with pytest.raises(ContainerError, match="is not below"):
            checkpoints.place_of({name: text}, name, str(below))
    with pytest.raises(ContainerError, match="there is no directory /absent; make it"):
        checkpoints.place_of({name: "a"}, name, "/absent")


def test_what_is_thawed(tmp_path: Path) -> None:
    below, complete = str(tmp_path), tmp_path / "whole"
    (complete / "checkpoint").mkdir(parents=True)
    (tmp_path / "torn").mkdir()
    (complete / "checkpoint" / checkpoints.COMMIT).touch()
    assert checkpoints.to_thaw({checkpoints.RESTORE: "whole"}, below) == str(complete / "checkpoint")
    with pytest.raises(ContainerError, match="there is no complete checkpoint in"):
        checkpoints.to_thaw({checkpoints.RESTORE: "torn"}, below)
    assert checkpoints.to_thaw(dict.fromkeys(BOTH, "torn"), below) == ""
    assert checkpoints.to_thaw({checkpoints.CHECKPOINT: "whole"}, below) == ""


def test_signal_and_options() -> None:
    assert checkpoints.stop_signal({}) == 15
    assert checkpoints.stop_signal({checkpoints.SIGNAL: "SIGINT"}) == 2
    assert checkpoints.options({checkpoints.OPTIONS: "tcp-established file-locks"}) == {
        "tcp_established": True,
        "file_locks": True,
    }
    with pytest.raises(ContainerError, match="'leave-running' is not one of"):
        checkpoints.options({checkpoints.OPTIONS: "leave-running"})


def test_files_for_hooks_d() -> None:
    file = hook_file("restore", "/opt/woodfrog", "/var/lib/woodfrog")
    assert file["hook"]["args"] == ["woodfrog", "--checkpoints", "/var/lib/woodfrog", "hook", "restore"]
    assert file["when"] == {"annotations": {r"^io\.github\.woodfrog\.restore$": ".+"}}
    assert (file["version"], file["stages"]) == ("1.0.0", ["createRuntime"])
    assert hook_file("checkpoint", "/opt/woodfrog", "/x")["stages"] == ["poststop"]


def hook(kind: str, below: Path, state: Any) -> subprocess.CompletedProcess[str]:
    """Run as a runtime runs it."""
    words = [sys.executable, "-m", "runtime.main", "--checkpoints", str(below), "hook", kind]
    text = state if isinstance(state, str) else json.dumps(state)
    return subprocess.run(words, input=text, env=environment(), capture_output=True, text=True, timeout=60, check=False)


def test_the_restore_hook_stops_a_runtime_that_does_not_restore(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / checkpoints.COMMIT).touch()
    state = {"id": "c", "bundle": "/b", "status": "creating", "annotations": {checkpoints.RESTORE: "images"}}
    done = hook("restore", tmp_path, state)
    assert done.returncode == 1
    assert f"container c is to be restored from {images}, but its runtime" in done.stderr
    state["annotations"] = {checkpoints.RESTORE: "images", checkpoints.RESTORED: str(images)}
    assert hook("restore", tmp_path, state).returncode == 0
    assert hook("restore", tmp_path, {**state, "annotations": {}}).returncode == 0
    assert "is not the state of a container" in hook("restore", tmp_path, "{}").stderr


def test_the_checkpoint_hook_keeps_what_the_engine_made(tmp_path: Path) -> None:
    bundle, below = tmp_path / "bundle", tmp_path / "below"
    (bundle / "checkpoint").mkdir(parents=True)
    below.mkdir()
    state = {"id": "c", "bundle": str(bundle), "status": "stopped", "annotations": {checkpoints.CHECKPOINT: "kept"}}
    assert hook("checkpoint", below, state).returncode == 0
    assert not (below / "kept").exists(), "there was nothing complete"
    for text in ("first", "second"):
        (bundle / "checkpoint" / checkpoints.COMMIT).write_text(text)
        assert hook("checkpoint", below, state).returncode == 0
        assert (below / "kept" / checkpoints.COMMIT).read_text() == text
    (below / "kept" / checkpoints.COMMIT).write_text("newer")
    assert hook("checkpoint", below, state).returncode == 0
    assert (below / "kept" / checkpoints.COMMIT).read_text() == "newer"
    assert os.listdir(below) == ["kept"]


class Asked(Bundle):
    """A bundle with annotations, and a place for checkpoints."""

    def ask(self, **words: str) -> None:
        self.below.mkdir(exist_ok=True)
        self.config["annotations"] = {checkpoints.PREFIX + name: word for name, word in words.items()}

    @property
    def below(self) -> Path:
        return self.path.parent / "below"

    def command(self, *words: str) -> list[str]:
        return super().command("--checkpoints", str(self.below), *words)

    def count(self) -> None:
        """The container counts, without ever starting another program."""
        self.config["root"]["readonly"] = False
        self.config["process"]["args"] = ["/bin/bash", "-c", COUNT]

    def freeze(self) -> None:
        """What an engine does to stop it; it is deleted."""
        assert self.verb("kill", self.id).stderr == ""
        assert (self.below / "kept" / checkpoints.COMMIT).exists()
        self.stopped()

    def stopped(self) -> None:
        wait_for(lambda: self.state()["status"] == "stopped", "the end")
        self.ok("delete", self.id)


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    with Asked(tmp_path) as made:
        yield made


@pytest.mark.root
def test_a_container_goes_on_where_it_was_stopped(asked: Asked) -> None:
    asked.count()
    asked.ask(restore="kept", checkpoint="kept")
    asked.detached("create", asked.id)
    asked.ok("start", asked.id)
    for _ in range(2):
        goes_on(asked)
        asked.freeze()
        before = count(asked)
        asked.detached("create", "--pid-file", "pid", asked.id)
        state = asked.state()
        assert state["status"] == "created"
        assert state["pid"] == int((asked.path / "pid").read_text())
        assert state["annotations"][checkpoints.RESTORED] == str(asked.below / "kept")
        assert count(asked) == before, "it ran before its start"
        asked.ok("start", asked.id)
        assert not (asked.below / "kept").exists(), "a checkpoint is used once"
        goes_on(asked)
        assert asked.state()["status"] == "running"
    numbers = (asked.rootfs / "tmp/count").read_text().split()
    assert numbers == [str(number + 1) for number in range(len(numbers))]
    assert os.listdir(asked.below) == []


@pytest.mark.root
def test_what_waits_for_its_start_can_be_killed_and_deleted(asked: Asked) -> None:
    asked.count()
    asked.ask(checkpoint="kept")
    asked.detached("run", "-d", asked.id)
    count(asked)
    asked.freeze()
    asked.ask(restore="kept")
    for words in (("delete", asked.id), ("delete", "--force", asked.id), ("kill", asked.id, "KILL")):
        asked.detached("create", asked.id)
        asked.ok(*words)
    asked.stopped()
    asked.detached("run", "-d", asked.id)
    goes_on(asked)
    assert (asked.below / "kept").exists(), "it is only read where it is not the container's own"


@pytest.mark.root
def test_one_that_cannot_be_frozen_gets_the_signal(asked: Asked) -> None:
    asked.shell("trap 'exit 3' INT; echo ready; while :; do sleep 0.02; done")
    asked.ask(**{"checkpoint": "../out", "checkpoint-signal": "INT"})
    asked.detached("run", "-d", asked.id)
    wait_for(lambda: "ready" in asked.output(), "the program")
    assert "is stopped without a checkpoint: annotation" in asked.verb("kill", asked.id, "INT").stderr
    asked.stopped()


@pytest.mark.root
def test_an_older_checkpoint_gives_way_to_a_newer_one(asked: Asked) -> None:
    asked.count()
    (asked.path.parent / "below" / "kept").mkdir(parents=True)
    (asked.below / "kept" / checkpoints.COMMIT).write_text("an older one")
    asked.ask(checkpoint="kept", options="no-such-flag")
    asked.detached("run", "-d", asked.id)
    count(asked)
    assert "'no-such-flag' is not one of" in asked.verb("kill", asked.id).stderr
    assert (asked.below / "kept" / checkpoints.COMMIT).read_text() == "an older one"
    asked.ok("delete", "--force", asked.id)
    asked.ask(checkpoint="kept", options="file-locks")
    asked.detached("run", "-d", asked.id)
    goes_on(asked)
    asked.freeze()
    assert os.listdir(asked.below) == ["kept"]
    assert (asked.below / "kept" / "pages-1.img").exists()


@pytest.mark.root
def test_an_annotation_that_is_refused(asked: Asked) -> None:
    asked.shell("true")
    asked.ask(restore="absent")
    assert "there is no complete checkpoint in" in asked.fails("run", asked.id)
    asked.ask(restore="/etc")
    assert "is not below" in asked.fails("create", asked.id)
