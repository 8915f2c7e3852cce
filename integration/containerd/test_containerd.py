"""containerd's runc shim over woodfrog: run, exec, pause, checkpoint, restore, kill, delete, by ctr."""

from __future__ import annotations

import os
import pty
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration import shims
from integration.containerd.daemon import Containerd
from integration.containerd.image import IMAGE
from integration.containers import wait_for

FROZEN, ROBBED = "woodfrog.test/frozen:1", "woodfrog.test/robbed:1"
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    runtime = shims.woodfrog(tmp_path_factory.mktemp("program"))
    with tempfile.TemporaryDirectory(prefix="frog") as place, Containerd(Path(place), runtime) as running:
        yield running


@pytest.fixture
def ctr(installation: Containerd) -> Iterator[Containerd]:
    yield installation
    installation.clean()


def test_run_gives_output_and_exit_code(ctr: Containerd) -> None:
    assert ctr.run("--rm", IMAGE, "talker", "/bin/bash", "-c", "read -r word; echo got $word", input="w\n") == "got w"
    done = ctr.attempt("run", "--rm", "--runc-binary", ctr.runtime, IMAGE, "seven", "/bin/bash", "-c", "exit 7")
    assert done.returncode == 7, done.stderr
    assert ctr("containers", "list", "--quiet") == ""


def test_a_program_that_is_not_there(ctr: Containerd) -> None:
    done = ctr.attempt("run", "--rm", "--runc-binary", ctr.runtime, IMAGE, "absent", "/bin/absent")
    assert done.returncode != 0
    assert "/bin/absent" in done.stderr


def test_options_of_run(ctr: Containerd) -> None:
    root = "(echo x >/data/y) 2>/dev/null || echo no"
    assert ctr.run("--rm", "--read-only", IMAGE, "still", "/bin/bash", "-c", root) == "no"
    inside = ctr.run("--rm", "--net-host", IMAGE, "open", "/bin/ls", "-l", "/proc/self/ns/net").split()[-1]
    assert inside == os.readlink("/proc/self/ns/net")
    assert ctr.run("--rm", "--seccomp", "--env", "A=b", IMAGE, "sealed", "/bin/bash", "-c", "echo $A") == "b"


def test_a_terminal(ctr: Containerd) -> None:
    ours, theirs = pty.openpty()
    command = [*ctr.command(), "run", "--rm", "--tty", "--runc-binary", ctr.runtime, IMAGE, "tty"]
    script = ["/bin/bash", "-c", "stty size; read -r word; echo got $word"]
    with subprocess.Popen([*command, *script], stdin=theirs, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        text = b""
        while text.count(b"\n") < 1:
            text += os.read(ours, 100)
        os.write(ours, b"word\n")
        while b"got word" not in text:
            text += os.read(ours, 100)
        assert run.wait(30) == 0
    os.close(ours)


def test_exec(ctr: Containerd) -> None:
    ctr.count("host")
    enter = ("tasks", "exec", "--exec-id")
    assert ctr(*enter, "one", "host", "/bin/cat", "/data/starts") == "start"
    done = ctr.attempt(*enter, "two", "host", "/bin/bash", "-c", "exit 3")
    assert done.returncode == 3, done.stderr
    ctr(*enter, "three", "--detach", "--fifo-dir", str(ctr.place), "host", "/bin/bash", "-c", "echo $$ >/data/other")
    wait_for((ctr.root("host") / "data" / "other").exists, "the detached process")
    assert (
        ctr(*enter, "four", "--cwd", "/data", "--user", "7:8", "host", "/bin/bash", "-c", "echo $UID $PWD") == "7 /data"
    )


def test_pause_and_resume(ctr: Containerd) -> None:
    ctr.count("sleeper")
    ctr("tasks", "pause", "sleeper")
    assert ctr.status("sleeper") == "PAUSED"
    before = ctr.counted("sleeper")
    assert ctr.attempt("tasks", "exec", "--exec-id", "x", "sleeper", "/bin/cat", "/data/count").returncode != 0
    assert ctr.counted("sleeper") == before
    ctr("tasks", "resume", "sleeper")
    assert ctr.status("sleeper") == "RUNNING"
    ctr.goes_on("sleeper", before)


def test_kill_and_delete(ctr: Containerd) -> None:
    ctr.count("doomed")
    assert ctr.attempt("tasks", "delete", "doomed").returncode != 0
    ctr("tasks", "kill", "--signal", "SIGKILL", "doomed")
    wait_for(lambda: ctr.status("doomed") == "STOPPED", "its end")
    ctr.attempt("tasks", "delete", "doomed")
    assert ctr.status("doomed") == ""
    ctr("containers", "delete", "doomed")


def test_metrics_and_processes(ctr: Containerd) -> None:
    ctr.count("measured", "--memory-limit", str(64 << 20))
    if shims.containerd_measures():
        assert "memory.usage_in_bytes" in ctr("tasks", "metrics", "measured")
    assert len(ctr("tasks", "ps", "measured").splitlines()) == 2


def test_checkpoint_that_leaves_it_running(ctr: Containerd) -> None:
    ctr.count("left")
    ctr("tasks", "checkpoint", "--image-path", str(ctr.place / "images"), "--work-path", str(ctr.place / "w"), "left")
    assert (ctr.place / "images" / "inventory.img").exists()
    ctr.goes_on("left", ctr.counted("left"))


def test_checkpoint_and_restore(ctr: Containerd) -> None:
    """With its memory and its layer, twice from one image; the second is then frozen again."""
    ctr.count("traveller")
    ctr("containers", "checkpoint", "--image", "--task", "--rw", "traveller", FROZEN)
    before = ctr.counted("traveller")
    ctr.goes_on("traveller", before)  # it was paused for the checkpoint only
    ctr("tasks", "kill", "--signal", "SIGKILL", "traveller")
    ctr.clean()
    for name in ("traveller", "twin"):
        ctr("containers", "restore", "--live", "--rw", name, FROZEN)
        assert ctr.status(name) == "RUNNING"
        assert ctr.counted(name) < before + 20
        ctr.goes_on(name, before)
        assert ctr("tasks", "exec", "--exec-id", "look", name, "/bin/cat", "/data/starts") == "start"
    ctr("tasks", "checkpoint", "--exit", "--image-path", str(ctr.place / "again"), "twin")
    wait_for(lambda: ctr.status("twin") == "STOPPED", "its end")
    assert (ctr.place / "again" / "inventory.img").exists()


def test_a_restore_that_fails_says_why(ctr: Containerd) -> None:
    """Without its layer it lacks a file that its program holds open.

    containerd 1.6 then waits for the end of a process that there never was, whatever the runtime: its shim must go.
    """
    ctr.count("robbed")
    ctr("containers", "checkpoint", "--image", "--task", "robbed", ROBBED)
    ctr("tasks", "kill", "--signal", "SIGKILL", "robbed")
    ctr.clean()
    done = ctr.attempt("containers", "restore", "--live", "robbed", ROBBED)
    assert done.returncode != 0
    assert "cannot open /data/pause" in done.stderr
    assert not list(ctr.state.glob("*/*"))
    ctr.kill_shims()
    wait_for(lambda: ctr.status("robbed") == "", "containerd to clean up")


def test_several_at_once(ctr: Containerd) -> None:
    names = [f"several{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(ctr.count, names))
        for name in names:
            ctr.goes_on(name, ctr.counted(name))
        list(pool.map(lambda name: ctr("tasks", "kill", "--signal", "SIGKILL", name), names))
