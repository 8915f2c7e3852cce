"""CRI-O over woodfrog: pods, containers, checkpoints in archives, annotations and hooks."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from integration import shims
from integration.containers import wait_for
from integration.counting.container import COUNTER
from integration.crio.daemon import Crio
from integration.crio.pod import Counted

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crio]:
    program = shims.woodfrog(tmp_path_factory.mktemp("program"))
    with tempfile.TemporaryDirectory(prefix="frog") as place, Crio(Path(place), program) as made:
        yield made


@pytest.fixture
def crio(installation: Crio) -> Iterator[Crio]:
    yield installation
    installation.clean()


def test_a_container_from_its_creation_to_its_removal(crio: Crio) -> None:
    pod = crio.pod("one")
    program = (
        "/bin/bash",
        "-c",
        "echo out; echo err >&2; trap 'exit 7' TERM; while :; do read -t 0.1 <>/dev/ptmx; done",
    )
    made = Counted(crio, pod.create("short", *program))
    assert made.state() == "CONTAINER_CREATED"
    crio("start", made.id)
    wait_for(lambda: "out" in crio("logs", made.id), "its output")
    assert made.state() == "CONTAINER_RUNNING"
    assert crio.attempt("logs", made.id).stderr == "err\n"
    assert made.exec("/bin/cat", "/proc/1/comm") == "bash"
    assert "eth0" in made.exec("/bin/cat", "/proc/net/dev")
    failed = crio.attempt("exec", "--sync", made.id, "/bin/bash", "-c", "exit 9")
    assert "exited with 9" in failed.stderr + failed.stdout
    assert crio("exec", made.id, "/bin/cat", "/proc/1/comm") == "bash", "over the streaming server"
    crio("update", "--memory", str(64 << 20), made.id)
    limit = next(Path("/sys/fs/cgroup/memory").glob(f"{crio.cgroup}/crio-{made.id}/memory.limit_in_bytes"))
    assert int(limit.read_text()) == 64 << 20
    assert made.id[:10] in crio("stats")
    crio("stop", "--timeout", "20", made.id)
    assert made.state() == "CONTAINER_EXITED"
    assert made.inspect()["status"]["exitCode"] == 7
    crio("rm", made.id)
    assert crio("ps", "--all", "--quiet") == ""


def test_the_daemon_may_be_restarted(crio: Crio) -> None:
    counter = crio.pod("lasting").count("counter")
    before = counter.number()
    crio.stop()
    crio.start()
    assert counter.state() == "CONTAINER_RUNNING"
    counter.goes_on(before)
    assert counter.exec("/bin/cat", "/data/starts") == "start"


def test_an_archive_is_restored_twice(crio: Crio, tmp_path: Path) -> None:
    counter = crio.pod("first").count("counter")
    archive = str(tmp_path / "archive.tar")
    before = counter.number()
    crio("checkpoint", f"--export={archive}", counter.id)
    with tarfile.open(archive) as tar:
        assert "checkpoint/inventory.img" in tar.getnames()
    counter.goes_on(counter.number())
    for name in ("second", "third"):
        pod = crio.pod(name)
        thawed = Counted(crio, pod.create("ignored", image=archive))
        crio("start", thawed.id)
        thawed.goes_on(before)
        assert thawed.exec("/bin/cat", "/data/starts") == "start"
    crio("stop", "--timeout", "0", thawed.id)
    assert thawed.state() == "CONTAINER_EXITED"


def test_a_container_goes_on_in_the_next_one_of_its_pod(crio: Crio, tmp_path: Path) -> None:
    """What a kubelet does that replaces a container: the annotations are the pod's, the files are in a volume."""
    pod = crio.pod("pair", restore="mine", checkpoint="mine")
    for attempt in range(3):
        before = number(tmp_path)
        made = Counted(crio, pod.create(f"try{attempt}", "/bin/bash", "-c", COUNTER, volume=tmp_path))
        assert made.state() == "CONTAINER_CREATED"
        assert number(tmp_path) == before, "nothing of it runs before its start"
        crio("start", made.id)
        wait_for(partial(beyond, tmp_path, before + 2), "the container to count")
        assert made.exec("/bin/cat", "/data/starts") == "start"
        crio("stop", "--timeout", "20", made.id)
        assert (crio.below / "mine" / "inventory.img").exists()
        crio("rm", made.id)


def test_a_runtime_that_cannot_restore_starts_nothing(crio: Crio, tmp_path: Path) -> None:
    """runc knows no annotation of ours: the hook stands against it."""
    shims.binary("WOODFROG_TEST_RUNC", "runc 1.1 or newer")
    (crio.below / "known").mkdir()
    (crio.below / "known" / "inventory.img").touch()
    pod = crio.pod("other", runtime="runc", restore="known")
    done = pod.attempt("never", "/bin/bash", "-c", "echo begun >/data/begun", volume=tmp_path)
    assert done.returncode != 0
    assert "is to be restored from" in done.stderr + crio.log()
    assert not list(tmp_path.iterdir())
    assert json.loads(crio("ps", "--all", "--output", "json"))["containers"] == []


def beyond(volume: Path, count: int) -> bool:
    return number(volume) > count


def number(volume: Path) -> int:
    """How far the program in the volume has counted."""
    try:
        return int((volume / "count").read_text())
    except FileNotFoundError:
        return 0
