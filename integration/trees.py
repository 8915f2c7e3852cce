"""Process trees of real programs on the host, without a container: frozen and thawed by `woodfrog-criu`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from integration.containers import ENGINE, PATIENCE, alive, run, wait_for


class Tree:
    """A tree in a session of its own, in `place`; as a context it ends whatever is left of it."""

    def __init__(self, place: Path, args: Sequence[str]) -> None:
        self.place = place
        self.args = list(args)
        self.pid = 0
        self.rounds = 0
        self._first: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Tree:
        with (self.place / "output").open("wb") as output:
            self._first = subprocess.Popen(
                self.args,
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._first.pid
        return self

    def __exit__(self, *error: object) -> None:
        doomed = list(tree_of(self.pid))
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._first is not None:
            self._first.wait(PATIENCE)
        wait_for(lambda: not any(alive(pid) for pid in doomed), "the tree to end")

    @property
    def images(self) -> Path:
        return self.place / f"images{self.rounds}"

    def dump(self, *options: str) -> None:
        """Freeze it; every process of it is gone afterwards."""
        before = list(tree_of(self.pid))
        self.rounds += 1
        self.images.mkdir()
        log = ("-D", str(self.images), "-o", "dump.log", "-v4")
        run(*ENGINE, "dump", "-t", str(self.pid), *log, *options)
        wait_for(lambda: not any(alive(pid) for pid in before), "the dumped tree to be gone")
        if self._first is not None:
            self._first.wait(PATIENCE)
            self._first = None

    def restore(self, *options: str) -> None:
        """Thaw it: with the pid that it had."""
        log = ("-D", str(self.images), "-o", "restore.log", "-v4")
        run(*ENGINE, "restore", "-d", *log, "--pidfile", "root.pid", *options)
        assert int((self.images / "root.pid").read_text()) == self.pid
        assert alive(self.pid)

    def output(self) -> str:
        return (self.place / "output").read_text(errors="replace")[-3000:]


def tree_of(root: int) -> Iterator[int]:
    """The process and all its descendants, parents first."""
    todo = [root]
    for pid in todo:
        yield pid
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
