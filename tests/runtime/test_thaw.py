"""Freeze and thaw around a recording engine: what is made, told, adopted, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cr import stdio as outside
from oci.config import load_config
from runtime import cgroup
from runtime.container import Container
from runtime.engine import DumpRequest, Notify, RestoreRequest
from runtime.errors import ContainerError
from runtime.frozen import stdio
from runtime.frozen.freeze import freeze
from runtime.frozen.thaw import Thaw
from runtime.report import Reporter
from runtime.store import Store
from tests.runtime.bundle import Bundle, wait_for

pytestmark = pytest.mark.root


class FakeEngine:
    """Dumps nothing; "restores" a sleep in a new network namespace."""

    def __init__(self, fail_after: str = "") -> None:
        self.fail_after = fail_after
        self.requests: list[Any] = []
        self.seen: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.on_dump: Callable[[], object] = list

    def dump(self, request: DumpRequest, notify: Notify) -> object:
        self.requests.append(request)
        self.on_dump()
        return None

    def restore(self, request: RestoreRequest, notify: Notify) -> int:
        self.requests.append(request)
        root = Path(request.options["root"])
        self.seen["places"] = sorted(path.name for path in root.iterdir())
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        pid = self.process.pid
        wait_for(lambda: _namespace(pid) != _namespace(os.getpid()), "the namespace")
        try:
            self._tell(pid, notify)
        except BaseException:
            self.end()  # as an engine must: nothing is left of a restore that fails
            raise
        return pid

    def _tell(self, pid: int, notify: Notify) -> None:
        for event in ("pre-restore", "setup-namespaces", "post-setup-namespaces", "post-restore"):
            notify(event, pid if event in ("setup-namespaces", "post-restore") else 0, None)
            if event == self.fail_after:
                raise ContainerError("restore failed: as asked")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    yield made
    made.end()


def prepared(bundle: Bundle, out: Path) -> Thaw:
    """A thaw of the bundle, with hooks that note when they run and with which state."""
    script = f"cat >> {out}; echo >> {out}"
    hook = [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]
    bundle.config["hooks"] = {"prestart": hook, "createRuntime": hook, "poststart": hook}
    bundle.config["mounts"].append({"destination": "/new/file", "source": "/etc/passwd", "options": ["bind"]})
    bundle.save()
    config = load_config(str(bundle.path))
    manager = cgroup.new_manager(config, bundle.id, False, False)
    return Thaw(Store(str(bundle.root), bundle.id), manager, str(bundle.path), str(bundle.rootfs), config, Reporter())


def test_a_restore(bundle: Bundle, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / stdio.NAME).write_text(json.dumps(["/dev/null", "pipe:[77]", "/dev/null"]))
    thaw = prepared(bundle, tmp_path / "hooks")
    thaw.pid_file = str(tmp_path / "pid")
    pid = thaw.run(engine, str(tmp_path), {"manage_cgroups": "soft"})
    thaw.container.store.forget_lock()
    assert (tmp_path / "pid").read_text() == str(pid)
    request = engine.requests[0]
    assert request.options["root"] == str(bundle.root / bundle.id / "criu-root")
    assert request.options["inherit_fd"] == ["fd[1]:pipe:[77]"]
    assert "mnt[/new/file]:/etc/passwd" in request.options["external"]
    assert f"pids:/{bundle.id}" in request.options["cgroup_root"]
    assert "new" in engine.seen["places"], "places for mounts are made in the fresh root"
    assert bundle.state()["status"] == "running"
    assert f"/{bundle.id}\n" in Path(f"/proc/{pid}/cgroup").read_text()
    states = [json.loads(line) for line in (tmp_path / "hooks").read_text().splitlines()]
    assert [(state["status"], state["pid"]) for state in states] == [("created", pid), ("creating", pid)]
    flags = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "link", "show", "lo"], capture_output=True, text=True, check=True
    ).stdout
    assert "LOOPBACK,UP" in flags
    assert "criu-root" not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize("event", ["pre-restore", "setup-namespaces", "post-restore"])
def test_a_restore_that_fails_leaves_nothing(bundle: Bundle, tmp_path: Path, event: str) -> None:
    engine = FakeEngine(fail_after=event)
    thaw = prepared(bundle, tmp_path / "hooks")
    with pytest.raises(ContainerError, match="as asked"):
        thaw.run(engine, str(tmp_path), {})
    assert list(bundle.root.iterdir()) == []
    assert not bundle.cgroups()
    assert "criu-root" not in Path("/proc/self/mounts").read_text()
    assert engine.process is not None
    assert engine.process.returncode is not None


def test_a_hook_that_fails_ends_the_restore(bundle: Bundle, engine: FakeEngine, tmp_path: Path) -> None:
    thaw = prepared(bundle, tmp_path / "hooks")
    thaw.config["hooks"] = {"prestart": [{"path": "/bin/false"}]}
    with pytest.raises(ContainerError, match=r"prestart hook #0"):
        thaw.run(engine, str(tmp_path), {})
    assert list(bundle.root.iterdir()) == []


def test_delete_force_after_a_restore_that_was_killed(bundle: Bundle, tmp_path: Path) -> None:
    thaw = prepared(bundle, tmp_path / "hooks")
    child = os.fork()
    if child == 0:
        try:
            thaw.run(KilledEngine(), str(tmp_path), {})
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 9
    assert str(bundle.root / bundle.id / "criu-root") in Path("/proc/self/mounts").read_text()
    bundle.ok("delete", "--force", bundle.id)
    assert "criu-root" not in Path("/proc/self/mounts").read_text()
    assert bundle.rootfs.is_dir()


class KilledEngine(FakeEngine):
    """The command is killed in the middle of the restore."""

    def restore(self, request: RestoreRequest, notify: Notify) -> int:
        os.kill(os.getpid(), 9)
        raise AssertionError


def test_a_freeze(bundle: Bundle, engine: FakeEngine, tmp_path: Path) -> None:
    bundle.config["process"]["args"] = ["sleep", "1000"]
    bundle.detached("run", "-d", bundle.id)
    container = Container(Store(str(bundle.root), bundle.id), Store(str(bundle.root), bundle.id).load())
    bundle.ok("pause", bundle.id)
    engine.on_dump = container.manager().thaw
    freeze(container, engine, str(tmp_path), {"leave_running": True})
    assert container.status() == "paused", "what was paused stays paused"
    request = engine.requests[0]
    assert request.pid == container.pid
    assert request.options["freeze_cgroup"].endswith(f"/{bundle.id}")
    out = str(bundle.path / "out")
    assert json.loads((tmp_path / stdio.NAME).read_text()) == ["/dev/null", out, out]
    names = json.loads((tmp_path / outside.NAME).read_text())
    assert names[0] == ""
    assert names[1].startswith("file[")
    assert names[1] in request.options["external"]
    if "/proc/timer_list" in bundle.config["linux"]["maskedPaths"] and Path("/proc/timer_list").exists():
        assert "mnt[/proc/timer_list]:/dev/null" in request.options["external"]
