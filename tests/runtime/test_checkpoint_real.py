"""Checkpoint and restore of containers by the real engine: options, descriptors, mounts, namespaces, cgroups."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle, environment, wait_for
from tests.runtime.freezing import (
    Pipes,
    checkpoint,
    count,
    counting,
    cycle,
    goes_on,
    images,
    network_namespace,
    restore,
    start,
)

pytestmark = pytest.mark.root

OPTIONS = ["", "--file-locks", "--tcp-established", "--ext-unix-sk", "--shell-job", "--empty-ns network"]
MODES = ["soft", "full", "strict", "ignore", "none", "props"]


@pytest.mark.parametrize("options", [*OPTIONS, *(f"--manage-cgroups-mode {mode}" for mode in MODES)])
def test_options(bundle: Bundle, options: str) -> None:
    counting(bundle)
    start(bundle)
    cycle(bundle, *options.split())


def test_twice_in_a_row(bundle: Bundle) -> None:
    counting(bundle)
    start(bundle)
    cycle(bundle, times=3)


def test_twins_from_one_image_may_share_a_cgroup(bundle: Bundle) -> None:
    """The configuration of both names it; containerd restores such twins."""
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    checkpoint(bundle, "--leave-running")
    twin = f"{bundle.id}-twin"
    bundle.detached("restore", "-d", "--image-path", images(bundle), twin)
    try:
        states = [json.loads(bundle.verb("state", name).stdout) for name in (bundle.id, twin)]
        assert [state["status"] for state in states] == ["running", "running"]
        assert states[0]["pid"] != states[1]["pid"]
        for name, state in zip((bundle.id, twin), states, strict=True):
            assert json.loads(bundle.ok("ps", "-f", "json", name)) == [state["pid"]]
        bundle.ok("kill", "--all", bundle.id, "KILL")
        wait_for(lambda: json.loads(bundle.ok("state", bundle.id))["status"] == "stopped", "the end of the first")
        assert bundle.verb("delete", bundle.id).stderr == ""
        assert json.loads(bundle.ok("state", twin)) == states[1], "the other runs on"
        assert bundle.cgroups(), "in its cgroup"
    finally:
        bundle.ok("delete", "--force", twin)
    assert not bundle.cgroups()


def test_a_restore_that_fails_beside_a_twin_leaves_its_cgroup(bundle: Bundle) -> None:
    bundle.shell("exec sleep 1000")
    bundle.detached("run", "-d", bundle.id)
    checkpoint(bundle, "--leave-running")
    (Path(images(bundle)) / "pages-1.img").write_bytes(b"")
    began = time.monotonic()
    message = bundle.fails("restore", "-d", "--image-path", images(bundle), f"{bundle.id}-twin")
    assert "besides" not in message
    assert time.monotonic() - began < 8, "it does not wait for the cgroup of the other"
    assert bundle.state()["status"] == "running"


def test_work_path_takes_log_and_statistics(bundle: Bundle, tmp_path: Path) -> None:
    counting(bundle)
    start(bundle)
    work = tmp_path / "new/work"
    cycle(bundle, "--work-path", str(work))
    assert {"dump.log", "restore.log", "stats-dump", "stats-restore"} <= {path.name for path in work.iterdir()}
    assert not (Path(images(bundle)) / "dump.log").exists()


def test_leave_running(bundle: Bundle) -> None:
    counting(bundle)
    start(bundle)
    pid = bundle.state()["pid"]
    checkpoint(bundle, "--leave-running")
    goes_on(bundle)
    assert (bundle.state()["status"], bundle.state()["pid"]) == ("running", pid)
    message = bundle.fails("restore", "-d", "--image-path", images(bundle), bundle.id)
    assert "container with given ID already exists" in message
    goes_on(bundle)
    bundle.ok("delete", "--force", bundle.id)
    restore(bundle)
    goes_on(bundle)


def test_pre_dumps(bundle: Bundle, tmp_path: Path) -> None:
    counting(bundle)
    start(bundle)
    parent: list[str] = []
    for name in ("first", "second"):
        bundle.ok("checkpoint", "--pre-dump", "--image-path", str(tmp_path / name), *parent, bundle.id)
        goes_on(bundle)
        parent = ["--parent-path", f"../{name}"]
    assert (tmp_path / "second/parent").is_symlink()
    place = os.path.relpath(tmp_path / "second", images(bundle))
    checkpoint(bundle, "--parent-path", place, "--auto-dedup")
    before = count(bundle)
    restore(bundle)
    assert count(bundle) >= before
    goes_on(bundle)


def test_in_the_foreground_with_the_exit_code(bundle: Bundle) -> None:
    counting(bundle, "trap 'exit 7' TERM; ")
    start(bundle)
    checkpoint(bundle)
    bundle.save()
    command = bundle.command("restore", "--image-path", images(bundle), "--pid-file", "pid", bundle.id)
    run = subprocess.Popen(command, cwd=bundle.path, env=environment(), stdin=subprocess.DEVNULL)
    wait_for(lambda: (bundle.path / "pid").exists(), "the pid file")
    assert int((bundle.path / "pid").read_text()) == bundle.state()["pid"]
    goes_on(bundle)
    run.send_signal(signal.SIGTERM)
    assert run.wait(20) == 7
    assert not (bundle.root / bundle.id).exists()


def test_bundle_elsewhere(bundle: Bundle, tmp_path: Path) -> None:
    counting(bundle)
    start(bundle)
    checkpoint(bundle)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(bundle.path, elsewhere, symlinks=True)
    bundle.detached("restore", "-d", "--bundle", str(elsewhere), "--image-path", images(bundle), bundle.id)
    bundle.rootfs = elsewhere / "rootfs"
    goes_on(bundle)
    assert bundle.state()["bundle"] == str(elsewhere)


# -- descriptors --


def test_standard_output_is_a_file(bundle: Bundle) -> None:
    counting(bundle, script="while :; do i=$((i+1)); echo line $i; echo $i >> /tmp/count; sleep 0.03; done")
    start(bundle)
    cycle(bundle, times=2)
    last = int(bundle.output().splitlines()[-1].split()[1])
    wait_for(lambda: int(bundle.output().splitlines()[-1].split()[1]) > last, "more output")
    numbers = [line.split()[1] for line in bundle.output().splitlines()]
    assert numbers == [str(number + 1) for number in range(len(numbers))]


def test_pipes_as_a_monitor_gives_them(bundle: Bundle) -> None:
    bundle.shell("while read word; do echo got $word; echo oops >&2; done")
    with Pipes(bundle, "run", "-d", bundle.id) as first:
        first.talk(b"a")
        checkpoint(bundle)
    for word in (b"b", b"c"):
        with Pipes(bundle, "restore", "-d", "--image-path", images(bundle), bundle.id) as pipes:
            pipes.talk(word)
            checkpoint(bundle)


def test_pipes_that_the_program_has_redirected(bundle: Bundle) -> None:
    """The shell parks the first descriptors elsewhere while its loop writes into a file."""
    bundle.config["root"]["readonly"] = False
    bundle.shell("while read word; do echo got $word; done > /tmp/said; echo parked")
    said = bundle.rootfs / "tmp/said"
    with Pipes(bundle, "run", "-d", bundle.id) as first:
        first.say(b"a")
        wait_for(lambda: said.exists() and said.read_text() == "got a\n", "the first word")
        checkpoint(bundle)
    with Pipes(bundle, "restore", "-d", "--image-path", images(bundle), bundle.id) as second:
        second.say(b"b")
        wait_for(lambda: said.read_text() == "got a\ngot b\n", "the second word")
        checkpoint(bundle)
    with Pipes(bundle, "restore", "-d", "--image-path", images(bundle), bundle.id) as third:
        third.end_of_input()
        assert os.read(third.stdout, 100) == b"parked\n"


def test_pipes_become_dev_null(bundle: Bundle) -> None:
    """A container that was made with pipes is thawed without them, frozen and thawed again."""
    counting(bundle)
    with Pipes(bundle, "run", "-d", bundle.id):
        cycle(bundle, times=2)


# -- terminals --


class ConsoleSocket:
    """Takes the masters of terminals."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "console.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(20)

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(self, *error: object) -> None:
        self.listener.close()

    def master(self) -> int:
        stream, _ = self.listener.accept()
        with stream:
            _, fds, _, _ = socket.recv_fds(stream, 4096, 1)
        return fds[0]


def conversation(master: int, word: bytes) -> None:
    """It answers, and knows the size of its window."""
    os.write(master, word + b"\n")
    said = b""
    while b"got " + word not in said or b"33 99" not in said:
        ready, _, _ = select.select([master], [], [], 20)
        assert ready, said
        said += os.read(master, 4096)


def test_a_terminal_by_console_socket(bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.config["process"]["consoleSize"] = {"height": 33, "width": 99}
    counting(bundle, script="while read word; do echo got $word; stty size; done")
    with ConsoleSocket(tmp_path) as console:
        bundle.detached("run", "-d", "--console-socket", console.path, bundle.id)
        master = console.master()
        conversation(master, b"one")
        for word in (b"two", b"three"):
            checkpoint(bundle)
            os.close(master)
            words = ("--console-socket", console.path, "--image-path", images(bundle), bundle.id)
            bundle.detached("restore", "-d", *words)
            master = console.master()
            conversation(master, word)
            assert os.readlink(f"/proc/{bundle.state()['pid']}/fd/0") == "/dev/pts/0"
        os.close(master)


# -- mounts and roots --


def test_mounts(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "bound").mkdir()
    (tmp_path / "file").write_text("of the host")
    bundle.config["mounts"] += [
        {"destination": "/bound", "source": str(tmp_path / "bound"), "options": ["bind", "rw"]},
        {"destination": "/etc/file", "source": str(tmp_path / "file"), "options": ["bind", "ro"]},
        {"destination": "/cache", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "nosuid"]},
    ]
    loop = "while :; do i=$((i+1)); echo $i >&3; read kept < /cache/kept; read f < /etc/file; "
    loop += 'echo "$kept,$f" >> /tmp/seen; echo $i >> /tmp/count; sleep 0.03; done'
    counting(bundle, "echo content > /cache/kept; exec 3> /bound/log; ", loop)
    start(bundle)
    cycle(bundle, times=2)
    (bundle.rootfs / "tmp/seen").unlink()
    goes_on(bundle)
    goes_on(bundle)
    assert set((bundle.rootfs / "tmp/seen").read_text().splitlines()) == {"content,of the host"}
    numbers = (tmp_path / "bound/log").read_text().split()
    assert numbers == [str(n + 1) for n in range(len(numbers))]


def test_a_read_only_root(bundle: Bundle) -> None:
    counting(bundle, script="while :; do i=$((i+1)); echo $i; sleep 0.03; done")
    bundle.config["root"]["readonly"] = True
    bundle.detached("run", "-d", bundle.id)
    checkpoint(bundle)
    before = len(bundle.output().splitlines())
    restore(bundle)
    wait_for(lambda: len(bundle.output().splitlines()) > before, "more output")
    assert "Read-only" in bundle.verb("exec", bundle.id, "touch", "/x").stderr


def test_a_user_namespace(bundle: Bundle, tmp_path: Path) -> None:
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.config["linux"].update(uidMappings=mapping, gidMappings=mapping)
    (bundle.rootfs / "tmp").chmod(0o1777)
    for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    for parent in tmp_path.parents[:3]:
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    counting(bundle)
    start(bundle)
    cycle(bundle, times=2)
    owner = (bundle.rootfs / "tmp/count").stat().st_uid
    assert owner == 100000


# -- namespaces and cgroups --


def test_a_paused_container_stays_paused(bundle: Bundle) -> None:
    counting(bundle)
    start(bundle)
    bundle.ok("pause", bundle.id)
    checkpoint(bundle, "--leave-running")
    assert bundle.state()["status"] == "paused"
    before = count(bundle)
    bundle.ok("resume", bundle.id)
    goes_on(bundle)
    bundle.ok("delete", "--force", bundle.id)
    restore(bundle)
    assert bundle.state()["status"] == "running"
    assert count(bundle) >= before


def test_cgroup_limits(bundle: Bundle) -> None:
    bundle.config["linux"]["resources"].update(memory={"limit": 1 << 26}, pids={"limit": 77}, cpu={"shares": 333})
    counting(bundle)
    start(bundle)
    bundle.ok("update", "--pids-limit", "66", bundle.id)
    cycle(bundle)
    recorded = json.loads((bundle.root / bundle.id / "state.json").read_text())["cgroup"]["paths"]
    limits = {name: Path(place) for names, place in recorded.items() for name in names.split(",")}
    assert (limits["memory"] / "memory.limit_in_bytes").read_text() == f"{1 << 26}\n"
    assert (limits["cpu"] / "cpu.shares").read_text() == "333\n"
    assert (limits["pids"] / "pids.max").read_text() in ("66\n", "77\n")
    assert str(bundle.state()["pid"]) in (limits["memory"] / "cgroup.procs").read_text().split()


def test_the_network_namespace_of_another(bundle: Bundle) -> None:
    with network_namespace(f"wft{os.getpid()}") as path:
        for entry in bundle.config["linux"]["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = str(path)
        counting(bundle)
        start(bundle)
        cycle(bundle, times=2)
        pid = bundle.state()["pid"]
        assert os.stat(f"/proc/{pid}/ns/net").st_ino == path.stat().st_ino
        bundle.ok("delete", "--force", bundle.id)
