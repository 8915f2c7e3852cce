"""Run a workload, dump it, see it gone, restore it, let it check itself.

A workload is a Python file of tests/workloads/, run with the system's python3.  It prepares its state,
calls `ready()` of tests/workloads/lib.py, waits there for SIGTERM, then checks itself and writes "PASS" or
what is wrong.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cr
from cr.model import DumpReport

WORKLOADS = Path(__file__).parent.parent / "workloads"
PYTHON = "/usr/bin/python3"
PATIENCE = 20.0


def wait_for(condition: Any, what: str, patience: float = PATIENCE) -> Any:
    """Poll until `condition()` is true; its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.005)
    return value


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Workload:
    """A running workload; use as a context manager, which ends whatever is left of it.

    `prefix` is put before the command (["unshare", "--pid", "--fork", ...] for other flavours).
    """

    name: str
    directory: Path
    arguments: list[str] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)
    stdin: int = subprocess.DEVNULL
    process: subprocess.Popen[bytes] | None = None
    pid: int = 0
    restored: int = 0

    @property
    def images(self) -> Path:
        return self.directory / "images"

    @property
    def verdict_file(self) -> Path:
        return self.directory / "verdict"

    def __enter__(self) -> Workload:
        output = (self.directory / "output").open("wb")
        command = [*self.prefix, PYTHON, str(WORKLOADS / f"{self.name}.py"), str(self.directory), *self.arguments]
        self.process = subprocess.Popen(
            command, stdin=self.stdin, stdout=output, stderr=output, start_new_session=True, cwd=self.directory
        )
        output.close()
        wait_for(self._is_ready, f"{self.name} to be ready: {self._output()}")
        self.pid = int((self.directory / "pid").read_text())
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended early: {self._output()}"
        return (self.directory / "ready").exists()

    def _output(self) -> str:
        return (self.directory / "output").read_text(errors="replace")[-2000:]

    def dump(self, pid: int | None = None, **options: Any) -> DumpReport:
        """Dump the tree; unless it was to run on, all of it is gone afterwards."""
        root = pid or self.restored or self.pid
        report = cr.dump(root, str(self.images), **options)
        if not options.get("leave_running") and not options.get("leave_stopped"):
            wait_for(lambda: not alive(root), "the dumped tree to be gone")
            self._reap()
        return report

    def restore(self, **options: Any) -> int:
        self.restored = cr.restore(str(self.images), **options).pid
        return self.restored

    def check(self) -> None:
        """Ask the workload for its verdict."""
        pid = self.restored or self.pid
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: self.verdict_file.exists() or not alive(pid), "the verdict")
        wait_for(lambda: self.verdict_file.exists(), f"a verdict, it only said: {self._output()}", 2)
        verdict = self.verdict_file.read_text()
        assert verdict == "PASS", f"{verdict}\n{self._output()}"

    def cycle(self, **options: Any) -> None:
        """Dump, see it gone, restore, check."""
        dump_only = {k: v for k, v in options.items() if k not in ("inherit_fd", "restore_sibling")}
        restore_only = {k: v for k, v in options.items() if k not in ("link_remap", "ghost_limit", "freeze_cgroup")}
        self.dump(**dump_only)
        self.restore(**restore_only)
        self.check()

    def _reap(self) -> None:
        """The root was our child in both lives."""
        if self.restored:
            os.waitpid(self.restored, 0)
        elif self.process is not None:
            self.process.wait(PATIENCE)

    def __exit__(self, *_: object) -> None:
        for pid in {self.pid, self.restored} - {0}:
            end_tree(pid)
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)


def end_tree(root: int) -> None:
    """Kill a process and its descendants, by pid; reap those that are ours."""
    doomed = [root]
    for pid in doomed:
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
            doomed += [int(c) for t in tasks for c in Path(f"/proc/{pid}/task/{t}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    try:
        os.waitpid(root, 0)
    except ChildProcessError:
        return


if __name__ == "__main__":  # try one by hand: python -m tests.cr.harness NAME [ARGUMENT ...]
    import tempfile

    with tempfile.TemporaryDirectory() as place, Workload(sys.argv[1], Path(place), sys.argv[2:]) as workload:
        workload.cycle()
        print("PASS")
