"""Containers that count, to be frozen and thawed by the real commands."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.runtime.bundle import Bundle, environment, wait_for

COUNT = "i=0; while :; do i=$((i+1)); echo $i >> /tmp/count; sleep 0.03; done"


def counting(bundle: Bundle, before: str = "", script: str = COUNT) -> None:
    """The container counts in /tmp/count of its root."""
    bundle.config["root"]["readonly"] = False
    bundle.shell(before + script)


def count(bundle: Bundle) -> int:
    """How far it has counted."""
    file = bundle.rootfs / "tmp/count"
    numbers: list[str] = wait_for(lambda: file.exists() and file.read_text().split(), "the first number")
    return int(numbers[-1])


def goes_on(bundle: Bundle) -> None:
    """It counts further, from where it was."""
    before = count(bundle)
    wait_for(lambda: count(bundle) > before, "the next number")


def start(bundle: Bundle, *words: str) -> None:
    """Run it detached; it counts."""
    bundle.detached("run", "-d", *words, bundle.id)
    count(bundle)


def images(bundle: Bundle) -> str:
    return str(bundle.path.parent / "images")


def checkpoint(bundle: Bundle, *options: str, prepare: Callable[[], list[str]] = list) -> None:
    """A shell that is in the middle of starting a program (vfork) is refused for that moment.

    `prepare` gives more options for each try.
    """
    words = ("checkpoint", "--image-path", images(bundle), *options)
    done = wait_for(lambda: _unless_in_vfork(bundle.verb(*words, *prepare(), bundle.id)), "the checkpoint")
    assert done.returncode == 0, done.stderr


def _unless_in_vfork(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str] | None:
    return None if "waits in vfork(2)" in done.stderr else done


def restore(bundle: Bundle, *options: str) -> None:
    bundle.detached("restore", "-d", "--image-path", images(bundle), *options, bundle.id)


def cycle(bundle: Bundle, *options: str, times: int = 1) -> None:
    """Frozen, gone, thawed, and it counts on from there."""
    for _ in range(times):
        checkpoint(bundle, *options)
        assert not (bundle.root / bundle.id).exists()
        assert not bundle.cgroups()
        before = count(bundle)
        restore(bundle, *options)
        assert count(bundle) >= before
        goes_on(bundle)
        assert bundle.state()["status"] == "running"
    numbers = (bundle.rootfs / "tmp/count").read_text().split()
    assert numbers == [str(number + 1) for number in range(len(numbers))], "a number is missing"


class Pipes:
    """A detached verb whose container keeps our pipes, as under a monitor process."""

    def __init__(self, bundle: Bundle, *words: str) -> None:
        bundle.save()
        ends = [os.pipe() for _ in range(3)]
        theirs = [ends[0][0], ends[1][1], ends[2][1]]
        self.stdin, self.stdout, self.stderr = ours = [ends[0][1], ends[1][0], ends[2][0]]
        stdin, stdout, stderr = theirs
        self._stack = contextlib.ExitStack()
        for fd in ours:
            self._stack.callback(os.close, fd)
        run = subprocess.run(
            bundle.command(*words),
            cwd=bundle.path,
            env=environment(),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            timeout=60,
            check=False,
        )
        for fd in theirs:
            os.close(fd)
        assert run.returncode == 0, os.read(self.stderr, 4096)

    def __enter__(self) -> Pipes:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def say(self, word: bytes) -> None:
        os.write(self.stdin, word + b"\n")

    def end_of_input(self) -> None:
        """A pipe without a writer takes the place of ours."""
        reader, writer = os.pipe()
        os.dup2(reader, self.stdin)
        os.close(reader)
        os.close(writer)

    def talk(self, word: bytes) -> None:
        """It answers on both."""
        self.say(word)
        assert os.read(self.stdout, 100) == b"got " + word + b"\n"
        assert os.read(self.stderr, 100) == b"oops\n"


@contextlib.contextmanager
def network_namespace(name: str) -> Iterator[Path]:
    """A named network namespace (ip-netns(8))."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
        if not os.listdir("/run/netns"):
            subprocess.run(["umount", "/run/netns"], check=True)  # ip(8) never does
