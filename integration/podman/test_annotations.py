"""podman, which only creates, starts and stops: woodfrog thaws and freezes, as annotations and hooks say."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import shims
from integration.containers import wait_for
from integration.counting.container import COUNTER
from integration.podman.engine import IMAGE, Counter, Podman
from runtime.checkpoints import CHECKPOINT, RESTORE

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


class Installation(Podman):
    """With hooks, and a directory of checkpoints that annotations may name."""

    def __init__(self, place: Path, runtime: str, woodfrog: str) -> None:
        self.below = place / "below"
        self.below.mkdir()
        flags = ("--checkpoints", str(self.below))
        subprocess.run([woodfrog, *flags, "hook", "files", str(place / "hooks")], check=True, capture_output=True)
        ours = ("--runtime-flag", f"checkpoints={self.below}") if runtime == woodfrog else ()
        super().__init__(place, runtime, *ours, "--hooks-dir", str(place / "hooks"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    return shims.woodfrog(tmp_path_factory.mktemp("program"))


@pytest.fixture
def podman(program: str) -> Iterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="frog") as place, Installation(Path(place), program, program) as made:
        yield made


def test_a_container_goes_on_where_podman_stopped_it(podman: Installation) -> None:
    both = ("--annotation", f"{RESTORE}=mine", "--annotation", f"{CHECKPOINT}=mine")
    counter = Counter(podman, "pair", *both)
    for _ in range(2):
        podman("stop", "pair")
        assert not counter.running()
        assert (podman.below / "mine" / "inventory.img").exists()
        before = counter.count()
        podman("start", "pair")
        counter.goes_on(before)
        assert not (podman.below / "mine").exists()
        assert podman("exec", "pair", "/bin/cat", "/data/starts") == "start"


def test_a_new_container_from_a_checkpoint_that_a_hook_kept(podman: Installation) -> None:
    """podman's own checkpoint is kept at poststop; a volume carries the files that the program has open."""
    volume = ("--volume", "files:/data")
    first = (*volume, "--annotation", f"{CHECKPOINT}=kept", IMAGE, "/bin/bash", "-c", COUNTER)
    podman("run", "--detach", "--name", "first", "--network", "none", *first)
    wait_for(lambda: number(podman) > 2, "the container to count")
    podman("container", "checkpoint", "first")
    wait_for((podman.below / "kept" / "inventory.img").exists, "the hook")
    before = number(podman)
    podman("rm", "first")
    create = ("--network", "none", *volume, "--annotation", f"{RESTORE}=kept", IMAGE, "/bin/bash", "-c", "exit 9")
    podman("run", "--detach", "--name", "second", *create)
    wait_for(lambda: number(podman) > before, "the container to count")
    assert file_of(podman, "starts").split() == ["start"]
    assert podman("logs", "second") == ""


def test_a_runtime_that_cannot_restore_starts_nothing(program: str) -> None:
    """runc knows no annotation of ours: the hook stands against it."""
    with tempfile.TemporaryDirectory(prefix="frog") as place:
        runc = Installation(Path(place), shims.binary("WOODFROG_TEST_RUNC", "runc 1.1 or newer"), program)
        with runc:
            (runc.below / "kept").mkdir()
            (runc.below / "kept" / "inventory.img").touch()
            words = ["run", "--network", "none", "--annotation", f"{RESTORE}=kept", IMAGE, "/bin/cat", "/etc/passwd"]
            done = subprocess.run(
                [*runc.command, *words], env=runc.environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode != 0
            assert "is to be restored from" in done.stderr
            assert done.stdout == ""


def file_of(podman: Podman, name: str) -> str:
    """A file of the volume."""
    return (Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", "files")) / name).read_text()


def number(podman: Podman) -> int:
    """How far the program in the volume has counted."""
    try:
        return int(file_of(podman, "count"))
    except FileNotFoundError:
        return 0
