"""Many containers at once, and somebody who kills the commands that work on them."""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType

from runtime.checkpoints import COMMIT
from tests.runtime.bundle import Bundle, environment, wait_for

COUNT = (
    "[ -p /tmp/pause ] || mkfifo /tmp/pause; exec 9<>/tmp/pause; i=0;"
    "while :; do i=$((i+1)); echo $i >/tmp/count; read -r -t 0.2 -u 9; done"
)
PATIENCE = 120.0


class Saboteur:
    """Kills a random process of the runtime every now and then; as a context, it stops at the end.

    Of a checkpoint only the process that users see: what it costs when its child, that holds the tasks, is killed
    is a matter of LIMITS.md, and not nothing.
    """

    def __init__(self, place: Path, pause: float) -> None:
        self.place, self.pause = str(place).encode(), pause
        self.kills: collections.Counter[str] = collections.Counter()  # by the last word of the command: the container
        self.beginners: collections.Counter[str] = collections.Counter()
        """first processes of containers among them, which may have become the container's program by then"""
        self._random = random.Random(7)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Saboteur:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(self._random.uniform(0, 2 * self.pause)):
            if victims := [pid for pid in commands(self.place) if self._fair(pid)]:
                self._kill(self._random.choice(victims))

    def _kill(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if _is_command(words := Path(f"/proc/{pid}/cmdline").read_bytes(), self.place):
                container = words.split(b"\0")[-2].decode()
                inside = os.stat(f"/proc/{pid}/ns/pid").st_ino != os.stat("/proc/self/ns/pid").st_ino
                self.beginners[container] += inside
                self.kills[container] += 1  # first: the command may end at once
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError, IndexError):
            return
        finally:
            os.close(fd)

    @staticmethod
    def _fair(pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            return False
        return b"\0checkpoint\0" not in words or parent == os.getpid()


def commands(place: bytes) -> list[int]:
    """The processes of the runtime that work on something below `place`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if _is_command(words, place):
            found.append(int(path.parent.name))
    return found


def _is_command(words: bytes, place: bytes) -> bool:
    return b"runtime.main" in words and place in words


class Sailor(Bundle):
    """A container that goes through storms: `rounds` times run, checkpoint, restore, delete."""

    def __init__(self, place: Path, number: int) -> None:
        super().__init__(place / str(number), f"storm{number}")
        self.config["root"]["readonly"] = False
        self.config["process"]["args"] = ["/bin/bash", "-c", COUNT]
        self.images = self.path.parent / "images"
        self.tries = 0
        self.save()

    def sail(self, saboteur: Saboteur) -> None:
        """One round.  Whatever is killed on the way: nothing is lost, and `delete --force` recovers."""
        self.saboteur = saboteur
        for old in (self.rootfs / "tmp/count", self.images / COMMIT):
            old.unlink(missing_ok=True)
        while not (self._try("run", "-d", self.id) and self._begins() and self._freeze()):
            self._delete()
        before = self._count()
        while not self._try("restore", "-d", "--image-path", str(self.images), self.id) and not self._runs():
            self._delete()
        self._goes_on(before)
        self._delete()
        assert not (self.root / self.id).exists()
        assert not self.cgroups()

    def _begins(self) -> bool:
        """Whether it counts.  Its first process runs our code until its exec, and may be killed there."""
        wait_for(lambda: self._count() or not self._runs(), f"{self.id} to count", PATIENCE)
        assert self._count() or self.saboteur.kills[self.id], "it stopped by itself"
        return self._count() > 0

    def _freeze(self) -> bool:
        """Whether it is frozen: not if its first process was killed in the moment of its exec."""
        while not self._try("checkpoint", "--image-path", str(self.images), self.id):
            if self.saboteur.beginners[self.id] and self._status() == "stopped" and not self._complete():
                return False
            wait_for(lambda: self._complete() or self._runs(), f"{self.id} to run on: {self._look()}")
            if self._complete():
                self._delete()
                return True
            self._goes_on(self._count())
        assert self._complete()
        assert not (self.root / self.id).exists()
        return True

    def _look(self) -> str:
        """For whoever reads why a test failed."""
        log = self.images / "dump.log"
        return self.verb("state", self.id).stdout + (log.read_text() if log.exists() else "no log")

    def _complete(self) -> bool:
        """The images are whole, and the container has ended: while it runs, or stands still, they are nobody's."""
        return (self.images / COMMIT).exists() and self._status() in ("", "stopped")

    def _delete(self) -> None:
        while not self._try("delete", "--force", self.id):
            pass

    def _try(self, *words: str) -> bool:
        """Whether the command succeeded.  It, or a child of it, may be killed; an error by itself is a failure."""
        errors = self.path / "errors"
        self.tries += 1
        kills = self.saboteur.kills[self.id]
        with errors.open("wb") as stream:
            done = subprocess.run(
                self.command(*words),
                cwd=self.path,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                timeout=PATIENCE,
                check=False,
            )
        if done.returncode and done.returncode != -signal.SIGKILL:
            killed = self.saboteur.kills[self.id] > kills or self.saboteur.beginners[self.id]
            assert killed, f"{words[0]}: {errors.read_text()}"
        return done.returncode == 0

    def _runs(self) -> bool:
        return self._status() == "running"

    def _status(self) -> str:
        """ "" if there is no such container."""
        done = self.verb("state", self.id, timeout=PATIENCE)
        return str(json.loads(done.stdout)["status"]) if done.returncode == 0 else ""

    def _count(self) -> int:
        try:
            return int((self.rootfs / "tmp/count").read_text() or 0)
        except FileNotFoundError:
            return 0

    def _goes_on(self, before: int) -> None:
        wait_for(lambda: self._count() > before, f"{self.id} to count beyond {before}", PATIENCE)
