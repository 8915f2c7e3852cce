"""The engines that are measured, run as commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench.cases import PYTHON

# Starts a command from a small process, since a child's peak memory is never less than its parent's was at fork.
_LAUNCH = """
import json, os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
took = time.perf_counter() - began
open(sys.argv[1], "w").write(json.dumps([took, usage.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)]))
"""


@dataclass(frozen=True)
class Run:
    """One command: seconds, peak memory in bytes, what it printed."""

    seconds: float
    peak: int
    output: str


@dataclass(frozen=True)
class Engine:
    """`command` takes the words of criu(8)."""

    name: str
    command: tuple[str, ...]

    def dump(self, pid: int, images: Path, *more: str) -> Run:
        return self._run("dump", "-t", str(pid), "-D", str(images), "-o", "dump.log", "--display-stats", *more)

    def restore(self, images: Path, pidfile: Path) -> Run:
        return self._run("restore", "-d", "-D", str(images), "-o", "restore.log", "--pidfile", str(pidfile))

    def _run(self, *words: str) -> Run:
        images = Path(words[words.index("-D") + 1])
        answer = images.parent / "measured"
        command = [PYTHON, "-ISc", _LAUNCH, str(answer), *self.command, *words]
        with (images.parent / "output").open("w+") as output:
            subprocess.run(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=True, env=_environment()
            )
            output.seek(0)
            text = output.read()
        seconds, peak, status = json.loads(answer.read_text())
        if status:
            log = images / f"{words[0]}.log"
            raise RuntimeError(f"{self.name} {words[0]} failed: {text[-500:]} {_tail(log)}")
        return Run(seconds, peak, text)


def _environment() -> dict[str, str]:
    """Ours, but modules are compiled once only, as they are where the engine is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1000:] if log.exists() else ""


def frozen_seconds(output: str) -> float:
    """What --display-stats says about the time frozen."""
    found = re.search(r"Frozen time: (\d+) us", output)
    if found is None:
        raise RuntimeError(f"no frozen time in: {output}")
    return int(found[1]) / 1e6


def engines(oracle: str) -> list[Engine]:
    """Ours, then the criu binary at `oracle` where there is one."""
    ours = Engine("woodfrog", (str(Path(sys.executable).parent / "woodfrog-criu"),))
    return [ours, Engine("criu", (os.path.realpath(oracle),))] if oracle else [ours]
