"""docker checkpoint and docker start --checkpoint, with this engine in the place of criu."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.containers import wait_for
from integration.docker.daemon import Docker

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    with (
        tempfile.TemporaryDirectory(prefix="frog", ignore_cleanup_errors=True) as place,
        Docker(Path(place)) as running,
    ):
        yield running


def test_checkpoint_and_start(docker: Docker) -> None:
    docker.run("counter")
    for name in ("first", "second"):
        wait_for(lambda: docker.count("counter") > 2, "the container to count")
        before = docker.count("counter")
        docker("checkpoint", "create", "counter", name)
        wait_for(lambda: docker("inspect", "--format", "{{.State.Running}}", "counter") == "false", "its end")
        docker.thaw("counter", name)
        wait_for(lambda at=before: docker.count("counter") > at, f"the container to count beyond {before}")
        assert docker("exec", "counter", "/bin/cat", "/work/starts") == "start"


def test_leave_running(docker: Docker) -> None:
    docker.run("left")
    wait_for(lambda: docker.count("left") > 2, "the container to count")
    docker("checkpoint", "create", "--leave-running", "left", "only")
    before = docker.count("left")
    wait_for(lambda: docker.count("left") > before, "the container to go on")
    assert docker("checkpoint", "ls", "left").split()[-1] == "only"
