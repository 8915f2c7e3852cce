"""In criu's place: `runc checkpoint` and `runc restore` of a busybox container, with our engine and with criu.

The engine is the program named criu that runc finds first in PATH: ours by `woodfrog criu-shim`, the other one
WOODFROG_TEST_CRIU.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.lifecycle import make_bundle

NAME = "drop-in"
HEAD = ("runc with an engine", "engine", "checkpoint", "restore")
MIB = 1 << 20
LOADS = {
    "an idle container": ("sleep 10000", 0),
    "512 MiB": ("dd if=/dev/zero bs=512M count=1 | sleep 10000", 512 * MIB),  # dd keeps all that the pipe cannot take
}
PATIENCE = 60.0


def runc() -> str | None:
    return os.environ.get("WOODFROG_TEST_RUNC") or shutil.which("runc")


def places(directory: Path, criu: str) -> dict[str, Path]:
    """{engine: the directory that goes first in PATH}."""
    ours = directory / "shim"
    program = Path(sys.executable).parent / "woodfrog"
    subprocess.run([program, "criu-shim", ours], check=True, stdout=subprocess.DEVNULL)
    found = {"woodfrog": ours}
    if criu:
        theirs = directory / "criu"
        theirs.mkdir()
        (theirs / "criu").symlink_to(os.path.realpath(criu))
        found["criu"] = theirs
    return found


def once(place: Path, engine: Path, size: int, name: str) -> list[float]:
    """Seconds of a checkpoint and of a restore of the bundle in `place`; it has dirtied `size` bytes before."""
    images, pidfile = place / "images", place / "pid"
    shutil.rmtree(images, ignore_errors=True)
    both = ["--image-path", str(images), "--work-path", str(images)]
    _runc(engine, place, "run", "--detach", "--pid-file", str(pidfile), name)
    try:
        _wait_for_memory(int(pidfile.read_text()), size)
        began = time.perf_counter()
        _runc(engine, place, "checkpoint", *both, name)
        frozen = time.perf_counter()
        _runc(engine, place, "restore", "--detach", *both, name)
        return [frozen - began, time.perf_counter() - frozen]
    finally:
        _runc(engine, place, "delete", "--force", name)


def _runc(engine: Path, place: Path, *words: str) -> None:
    environment = {**os.environ, "PATH": f"{engine}{os.pathsep}{os.environ['PATH']}"}
    command = [runc() or "runc", "--root", str(place / "state"), *words]
    null = subprocess.DEVNULL
    done = subprocess.run(command, cwd=place, env=environment, stdin=null, stdout=null, stderr=null, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with status {done.returncode}, engine {engine}")


def _wait_for_memory(pid: int, size: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while sum(map(_resident, _tree(pid))) < size:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the container does not have its {size} bytes")
        time.sleep(0.01)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(runs: int, criu: str) -> list[list[str]]:
    """The rows of the table: medians of runs in turns, one round before to warm up."""
    table = []
    with tempfile.TemporaryDirectory() as directory:
        engines = places(Path(directory), criu)
        for title, (script, size) in LOADS.items():
            place = Path(tempfile.mkdtemp(dir=directory))
            _make_bundle(place, script)
            samples: dict[str, list[list[float]]] = {name: [] for name in engines}
            for number in range(runs + 1):
                for name, engine in engines.items():
                    took = once(place, engine, size, f"bench-{os.urandom(3).hex()}")
                    if number:
                        samples[name].append(took)
            table += _rows(title, samples)
    return table


def _make_bundle(place: Path, script: str) -> None:
    make_bundle(place)
    (place / "rootfs/tmp").mkdir()  # criu makes a directory there
    path = place / "config.json"
    config = json.loads(path.read_text())
    config["process"]["args"] = ["/bin/busybox", "sh", "-c", script]
    config["process"]["env"] = ["PATH=/bin"]
    for name in ("dd", "sleep"):
        (place / "rootfs/bin" / name).symlink_to("busybox")
    path.write_text(json.dumps(config))


def _rows(title: str, samples: dict[str, list[list[float]]]) -> list[list[str]]:
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in samples.items()
    }
    table = [["", name, *(f"{value * 1e3:,.1f} ms" for value in values)] for name, values in medians.items()]
    table[0][0] = title
    if "criu" in medians:
        ratios = [ours / theirs for ours, theirs in zip(medians["woodfrog"], medians["criu"], strict=True)]
        table.append(["", "ratio", *(f"{ratio:.2f}" for ratio in ratios)])
    return table
