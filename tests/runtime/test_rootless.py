"""Containers of an ordinary user: a user namespace, no capabilities, no cgroups."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.bundle import ROOT, wait_for

pytestmark = pytest.mark.root

USER = 54321  # nobody has it
LOOP = "trap 'exit 3' TERM; sleep 1000 & echo ready; wait"


class Ordinary:
    """A user with a directory of its own; `capabilities` are kept, and no other can be had again."""

    def __init__(self, place: Path, *capabilities: str) -> None:
        self.place, self.bundle = place, place / "bundle"
        kept = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        self.source = place / "source"
        self.source.mkdir()
        self.become = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(ROOT)]
        self.become += [str(self.source), "setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
        self.become += [f"--{kind}={kept}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(self.source),
            "XDG_RUNTIME_DIR": str(place),
            "HOME": str(place),
        }

    def verb(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """The runtime's command, as this user."""
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **more}
        python = self.source / Path(sys.executable).relative_to(ROOT)
        command = [*self.become, str(python), "-m", "runtime.main", *words]
        return subprocess.run(command, cwd=self.place, env=self.environment, timeout=60, check=False, **options)

    def ok(self, *words: str) -> str:
        done = self.verb(*words)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    def prepare(self, script: str) -> None:
        """A bundle as `spec --rootless` makes it, with the host's programs."""
        for name in ("usr", "proc", "dev", "sys", "etc"):
            (self.bundle / "rootfs" / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64"):
            (self.bundle / "rootfs" / name).symlink_to(f"usr/{name}")
        shutil.chown(self.place, USER, USER)
        for path in self.place.rglob("*"):
            os.lchown(path, USER, USER)
        self.ok("spec", "--rootless", "--bundle", str(self.bundle))
        config = json.loads((self.bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=["/bin/sh", "-c", script])
        config["mounts"].append({"destination": "/usr", "source": "/usr", "options": ["rbind", "ro"]})
        (self.bundle / "config.json").write_text(json.dumps(config))

    def start(self) -> None:
        self.detached("run", "-d", "--bundle", str(self.bundle), "own")
        wait_for(lambda: "ready" in (self.place / "out").read_text(), "the program")

    def detached(self, *words: str) -> None:
        """A command whose container keeps its output, which is a file."""
        with (self.place / "out").open("w") as out:
            done = self.verb(*words, capture_output=False, stdout=out, stderr=out)
        assert done.returncode == 0, (self.place / "out").read_text()

    def status(self) -> str:
        return str(json.loads(self.ok("state", "own"))["status"])


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="frog") as found:
        Path(found).chmod(0o755)
        yield Path(found)


def cgroups() -> set[str]:
    return {str(path) for path in Path("/sys/fs/cgroup").glob("*/own")}


def test_run_exec_kill_delete(place: Path) -> None:
    user = Ordinary(place)
    user.prepare(LOOP)
    user.start()
    assert user.status() == "running"
    assert user.ok("exec", "own", "/usr/bin/id", "-u") == "0\n"
    assert user.ok("exec", "own", "/bin/cat", "/proc/self/uid_map").split() == ["0", str(USER), "1"]
    assert user.verb("exec", "own", "/bin/sh", "-c", "exit 7").returncode == 7
    owner = os.stat(f"/proc/{json.loads(user.ok('state', 'own'))['pid']}").st_uid
    assert owner == USER
    assert not cgroups(), "it may not make any"
    assert "cannot delete container own that is not stopped" in user.verb("delete", "own").stderr
    user.ok("kill", "own", "TERM")
    wait_for(lambda: user.status() == "stopped", "the end")
    user.ok("delete", "own")
    assert list((place / "woodfrog").iterdir()) == []


def test_create_start_and_the_exit_code(place: Path) -> None:
    user = Ordinary(place)
    user.prepare("echo ready; exit 5")
    assert user.verb("run", "--bundle", str(user.bundle), "own").returncode == 5
    with (place / "out").open("w") as out:
        words = ("create", "--bundle", str(user.bundle), "own")
        assert user.verb(*words, capture_output=False, stdout=out, stderr=out).returncode == 0
    assert user.status() == "created"
    user.ok("start", "own")
    wait_for(lambda: user.status() == "stopped", "the end")
    assert (place / "out").read_text() == "ready\n"
    user.ok("delete", "--force", "own")


@pytest.mark.parametrize("capabilities", [(), ("checkpoint_restore",)])
def test_what_lacks_rights_is_refused_and_runs_on(place: Path, capabilities: tuple[str, ...]) -> None:
    user = Ordinary(place, *capabilities)
    user.prepare(LOOP)
    user.start()
    done = user.verb("checkpoint", "--image-path", str(place / "images"), "own")
    assert done.returncode == 1
    assert "which only CAP_SYS_ADMIN may enter: checkpoint and restore it as root" in done.stderr
    assert "has no cgroup to be paused by" in user.verb("pause", "own").stderr
    assert user.status() == "running"
    done = user.verb("restore", "--image-path", str(place / "images"), "--bundle", str(user.bundle), "other")
    assert "which only CAP_SYS_ADMIN may enter" in done.stderr
    assert [entry.name for entry in (place / "woodfrog").iterdir()] == ["own"]
    user.ok("delete", "--force", "own")


_NAMES = (
    "sys_admin sys_ptrace checkpoint_restore net_admin dac_override dac_read_search kill setuid setgid sys_chroot "
    "chown fowner setpcap mknod sys_nice setfcap"
)
PRIVILEGED = tuple(_NAMES.split())


def test_an_ordinary_user_with_capabilities_checkpoints_and_restores_its_container(place: Path) -> None:
    """Mounts of the host below its bound /sys are locked in the container's user namespace (mount_namespaces(7))."""
    user = Ordinary(place, *PRIVILEGED)
    user.prepare(LOOP)
    user.start()
    words = ("--image-path", str(place / "images"))
    user.ok("checkpoint", *words, "--leave-running", "own")
    user.ok("checkpoint", *words, "own")
    assert not list((place / "woodfrog").iterdir())
    try:
        user.detached("restore", "-d", *words, "--bundle", str(user.bundle), "own")
        assert os.stat(place / "woodfrog/own/state.json").st_uid == USER, "what it makes is its own"
        assert user.status() == "running"
        assert user.ok("exec", "own", "/usr/bin/id", "-u") == "0\n"
        below = user.ok("exec", "own", "/bin/grep", "-c", " /sys/fs/cgroup/", "/proc/self/mountinfo")
        assert int(below) == Path("/proc/self/mountinfo").read_text().count(" /sys/fs/cgroup/")
    finally:
        user.ok("delete", "--force", "own")
    assert not cgroups()


def test_what_root_restores_is_its_user_s_again(place: Path) -> None:
    """Who made a user namespace has rights in it (user_namespaces(7)); root makes it for them, and no cgroup."""
    user = Ordinary(place)
    user.prepare(LOOP)
    user.start()
    words = ("--image-path", str(place / "images"))
    root = [sys.executable, "-m", "runtime.main", "--root", str(place / "woodfrog")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (place / "out").open("a") as out:
        options: dict[str, Any] = {"env": environment, "cwd": place, "timeout": 60, "stdout": out, "stderr": out}
        for verb in (["checkpoint"], ["restore", "-d", "--bundle", str(user.bundle)]):
            done = subprocess.run([*root, *verb, *words, "own"], stdin=subprocess.DEVNULL, check=False, **options)
            assert done.returncode == 0, (place / "out").read_text()
    try:
        assert user.status() == "running"
        assert user.ok("exec", "own", "/usr/bin/id", "-u") == "0\n"
        assert user.ok("exec", "own", "/bin/cat", "/proc/self/uid_map").split() == ["0", str(USER), "1"]
        assert not cgroups(), "the user may not make any"
        user.ok("kill", "own", "TERM")
        wait_for(lambda: user.status() == "stopped", "the end")
    finally:
        user.ok("delete", "--force", "own")
    assert not list((place / "woodfrog").iterdir())


def test_clocks_that_it_may_not_set_are_named(place: Path) -> None:
    """A time namespace of the host's root wants CAP_SYS_TIME, which the sentence says."""
    user = Ordinary(place, *PRIVILEGED)
    user.prepare(LOOP)
    file = user.bundle / "config.json"
    config = json.loads(file.read_text())
    linux = config["linux"]
    linux["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    linux.pop("uidMappings"), linux.pop("gidMappings")
    file.write_text(json.dumps(config))
    user.start()
    words = ("--image-path", str(place / "images"))
    user.ok("checkpoint", *words, "own")
    done = user.verb("restore", "-d", *words, "--bundle", str(user.bundle), "own")
    assert done.returncode == 1
    assert "the clocks of a time namespace are set with CAP_SYS_TIME: restore as root" in done.stderr
    assert not cgroups()
    assert not list((place / "woodfrog").iterdir())
