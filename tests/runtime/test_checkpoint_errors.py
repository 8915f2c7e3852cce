"""Checkpoints and restores that fail or are killed: one clear sentence, the container unharmed, nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from runtime import main
from runtime.context import Context
from runtime.options import Verb
from tests.runtime.bundle import Bundle, environment, wait_for
from tests.runtime.freezing import checkpoint, count, counting, goes_on, images, restore, start

pytestmark = pytest.mark.root

TWO_OBSTACLES = """
import fcntl, socket, time
lock = open("/tmp/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
number = 0
while True:
    number += 1
    print(number, file=open("/tmp/count", "a"))
    time.sleep(0.01)
"""
MOMENTS = 8
"""how many points in time of a run at which it is killed"""


def sentence(stderr: str) -> str:
    """The only line on standard error, in the form that engines parse; its message."""
    (line,) = stderr.splitlines()
    head, _, message = line.partition(" level=error msg=")
    assert head.startswith("time=")
    found: str = json.loads(message)
    return found


def test_a_dump_that_is_refused_names_every_reason(bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.config["process"]["args"] = ["/usr/bin/python3", "-c", TWO_OBSTACLES]
    start(bundle)
    message = sentence(bundle.fails("checkpoint", "--image-path", images(bundle), bundle.id))
    assert message.startswith("checkpoint failed: ")
    assert "--file-locks" in message
    assert "--tcp-established" in message
    goes_on(bundle)
    log = (Path(images(bundle)) / "dump.log").read_text()
    assert log.count("Error") >= 2
    checkpoint(bundle, "--file-locks", "--tcp-established")
    restore(bundle, "--file-locks", "--tcp-established")
    goes_on(bundle)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--manage-cgroups-mode", "odd"], "Invalid manage cgroups mode 'odd'"),
        (["--image-path", "/proc/version/x"], "cannot make the directory /proc/version/x: not a directory"),
        (["--parent-path", "../none"], "there is no directory"),
    ],
)
def test_a_checkpoint_that_cannot_begin(bundle: Bundle, words: list[str], message: str) -> None:
    counting(bundle)
    start(bundle)
    assert message in sentence(bundle.fails("checkpoint", *words, bundle.id))
    goes_on(bundle)


def test_containers_that_are_not_there_or_do_not_run(bundle: Bundle) -> None:
    assert sentence(bundle.fails("checkpoint", "nobody")) == "container does not exist"
    bundle.shell("exec sleep 1000")
    bundle.detached("create", bundle.id)
    message = sentence(bundle.fails("checkpoint", bundle.id))
    assert message == "Container cannot be checkpointed in created state"
    bundle.ok("kill", bundle.id, "KILL")
    wait_for(lambda: bundle.state()["status"] == "stopped", "its end")
    message = sentence(bundle.fails("checkpoint", bundle.id))
    assert message == "Container cannot be checkpointed in stopped state"


def test_restores_that_lack_something(bundle: Bundle, tmp_path: Path) -> None:
    hosts, files = tmp_path / "hosts", Path(images(bundle))
    hosts.write_text("a file of the host")
    bundle.config["mounts"].append({"destination": "/etc/hosts", "source": str(hosts), "options": ["bind"]})
    counting(bundle, "exec 5< /tmp/count; ", "while :; do i=$((i+1)); echo $i >> /tmp/count; sleep 0.03; done")
    (bundle.rootfs / "tmp/count").touch()
    start(bundle)
    checkpoint(bundle)
    failed = ("restore", "-d", "--image-path", str(files), bundle.id)

    def fails(expected: str) -> None:
        assert expected in sentence(bundle.fails(*failed))
        assert not list(bundle.root.iterdir())
        assert not bundle.cgroups()

    with away(hosts):
        fails(f"restore failed: cannot mount {hosts}")
    mount = bundle.config["mounts"].pop()
    fails("restore failed: /etc/hosts was left outside")
    bundle.config["mounts"].append(mount)
    with away(bundle.rootfs / "tmp/count"):
        fails("restore failed: cannot open /tmp/count")
    with away(bundle.rootfs):
        fails("invalid rootfs")
    with away(files / "pstree.img"):
        fails("restore failed: ")
    with away(files):
        assert "there is no image directory" in sentence(bundle.fails(*failed))
    restore(bundle)
    goes_on(bundle)


class away:
    """Meanwhile a file or directory is somewhere else."""

    def __init__(self, path: Path) -> None:
        self.path, self.other = path, path.with_name(path.name + ".away")

    def __enter__(self) -> None:
        self.path.rename(self.other)

    def __exit__(self, *error: object) -> None:
        self.other.rename(self.path)


def test_what_nobody_expected_is_one_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(main, "load_verb", lambda name: (Verb("state", "u", minimum=0, maximum=0), fails))
    assert main.main(["state"]) == 1
    assert "unexpected ZeroDivisionError: by nothing" in sentence(capfd.readouterr().err)
    assert main.main(["--debug", "--log", str(tmp_path / "log"), "state"]) == 1
    assert "Traceback" not in capfd.readouterr().err
    assert "in fails" in (tmp_path / "log").read_text()


# -- killed --


def timed(bundle: Bundle, *words: str) -> float:
    began = time.monotonic()
    bundle.detached(*words)
    return time.monotonic() - began


def killed_after(bundle: Bundle, seconds: float, *words: str) -> None:
    """Run a verb and kill it (SIGKILL) in the middle."""
    with open(bundle.path / "killed", "wb") as output:
        run = subprocess.Popen(
            bundle.command(*words),
            cwd=bundle.path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait(20)


def test_a_checkpoint_that_is_killed_leaves_the_container_running(bundle: Bundle) -> None:
    counting(bundle)
    start(bundle)
    words = ("checkpoint", "--leave-running", "--image-path", images(bundle), bundle.id)
    began = time.monotonic()
    bundle.verb(*words)
    length = time.monotonic() - began
    for moment in range(MOMENTS):
        killed_after(bundle, length * (moment + 0.5) / MOMENTS, *words)
        goes_on(bundle)
        assert bundle.state()["status"] == "running"
    numbers = (bundle.rootfs / "tmp/count").read_text().split()
    assert numbers == [str(number + 1) for number in range(len(numbers))]
    checkpoint(bundle)
    restore(bundle)
    goes_on(bundle)


def test_a_restore_that_is_killed_leaves_nothing_after_delete(bundle: Bundle) -> None:
    counting(bundle)
    start(bundle)
    checkpoint(bundle)
    words = ("restore", "-d", "--image-path", images(bundle), bundle.id)
    length = timed(bundle, *words)
    count(bundle)
    bundle.ok("delete", "--force", bundle.id)
    before = mounts()
    for moment in range(MOMENTS):
        killed_after(bundle, length * (moment + 0.5) / MOMENTS, *words)
        bundle.ok("delete", "--force", bundle.id)
        assert not (bundle.root / bundle.id).exists()
        assert not bundle.cgroups()
        wait_for(lambda: not holders(bundle), "its processes to be gone")
        assert [line for line in mounts() if str(bundle.path.parent) in line] == before
    restore(bundle)
    goes_on(bundle)


def mounts() -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "wft-" in line]


def holders(bundle: Bundle) -> list[str]:
    """Processes whose root is the container's."""
    inode = bundle.rootfs.stat().st_ino
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            info = os.stat(f"/proc/{pid}/root")
        except OSError:
            continue
        if info.st_ino == inode and info.st_dev == bundle.rootfs.stat().st_dev:
            found.append(pid)
    return found
