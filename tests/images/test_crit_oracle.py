"""woodfrog-crit against the crit of an installed criu: the same JSON and tables, byte for byte."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.directory import ImageDirectory
from images.kinds import KINDS, kind_of_file
from images.regenerate import ROOT

CRIU = os.environ.get("WOODFROG_TEST_CRIU", "")
CRIT = shlex.split(os.environ.get("WOODFROG_TEST_CRIT", "crit"))
OURS = [sys.executable, "-W", "error", "-m", "images.crit"]

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(
        not CRIU,
        reason="needs WOODFROG_TEST_CRIU, a criu (and WOODFROG_TEST_CRIT to its crit) to compare with them",
    ),
]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Images that criu made of the workload."""
    work, images = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("images")
    script = Path(__file__).parent / "oracle_workload.py"
    command = ["unshare", "-iun", sys.executable, str(script), str(work)]
    task = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        await_file(work / "ready", task)
        dump(task.pid, images)
        yield images
    finally:
        if task.poll() is None:
            os.killpg(task.pid, signal.SIGKILL)
        task.wait()


def await_file(path: Path, task: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert task.poll() is None, "the workload ended by itself"
        assert time.monotonic() < deadline, "the workload did not get ready"
        os.sched_yield()


def dump(pid: int, images: Path) -> None:
    options = ["--shell-job", "--tcp-established", "--file-locks", "--ghost-fiemap", "-v4", "-o", "dump.log"]
    done = subprocess.run([CRIU, "dump", "-t", str(pid), "-D", str(images), *options], timeout=60)
    log = (images / "dump.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]


def output(command: list[str]) -> bytes:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0, command
    return done.stdout


def decodable(snapshot: Path) -> list[str]:
    with ImageDirectory.open(snapshot) as directory:
        found = {name: kind_of_file(name) for name in directory.names()}
    return [name for name, kind in found.items() if kind is not None and not kind[0].raw]


@pytest.mark.parametrize("arguments", [["decode", "-i"], ["decode", "--pretty", "-i"], ["show", "--nopl"]])
def test_the_same_json(snapshot: Path, arguments: list[str]) -> None:
    for name in decodable(snapshot):
        if name.startswith("ipcns-shm"):
            continue  # crit 4.2 takes the next entries for data of a segment that is in a pagemap
        words = [*arguments, str(snapshot / name)]
        assert output([*OURS, *words]) == output([*CRIT, *words]), name


def test_the_workload_covers_the_kinds_with_data(snapshot: Path) -> None:
    kinds = {found[0].name for name in decodable(snapshot) if (found := kind_of_file(name))}
    data = {name for name, kind in KINDS.items() if kind.payload.name != "NONE"}
    assert data - kinds == {"bpfmap-data"}


@pytest.mark.parametrize("form", [[], ["--pretty"]])
def test_every_image_comes_back_the_same(snapshot: Path, form: list[str]) -> None:
    for name in decodable(snapshot):
        text = output([*OURS, "decode", *form, "-i", str(snapshot / name)])
        done = subprocess.run([*OURS, "encode"], cwd=ROOT, input=text, stdout=subprocess.PIPE, check=True)
        assert done.stdout == (snapshot / name).read_bytes(), name


@pytest.mark.parametrize("what", ["ps", "fds", "mems", "rss"])
def test_the_same_tables(snapshot: Path, what: str) -> None:
    words = ["x", str(snapshot), what]
    assert output([*OURS, *words]) == output([*CRIT, *words])
