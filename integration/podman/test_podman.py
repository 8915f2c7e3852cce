"""podman container checkpoint and restore, over runc and over woodfrog, with this engine in the place of criu."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import shims
from integration.podman.engine import Counter, Podman

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["runc", "woodfrog"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    if request.param == "runc":
        path = shims.binary("WOODFROG_TEST_RUNC", "runc 1.1 or newer")
    else:
        path = shims.woodfrog(tmp_path_factory.mktemp("program"))
    with tempfile.TemporaryDirectory(prefix="frog") as place, Podman(Path(place), path) as result:
        yield result


@pytest.fixture
def podman(installation: Podman) -> Iterator[Podman]:
    yield installation
    installation.clean()


def test_checkpoint_and_restore_twice(podman: Podman) -> None:
    counter = Counter(podman, "plain")
    for _ in range(2):
        before = counter.count()
        podman("container", "checkpoint", "plain")
        assert not counter.running()
        podman("container", "restore", "plain")
        counter.goes_on(before)


def test_leave_running_keep_and_statistics(podman: Podman) -> None:
    counter = Counter(podman, "left")
    text = podman("container", "checkpoint", "--leave-running", "--keep", "--print-stats", "left")
    statistics = json.loads(text)["container_statistics"][0]["criu_statistics"]
    assert statistics["frozen_time"] > 0
    assert statistics["pages_written"] > 10
    counter.goes_on(counter.count())
    before = counter.count()
    podman("container", "checkpoint", "left")
    text = podman("container", "restore", "--print-stats", "--keep", "left")
    statistics = json.loads(text)["container_statistics"][0]["criu_statistics"]
    assert statistics["restore_time"] > 0
    assert statistics["pages_restored"] > 10
    counter.goes_on(before)


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_export_and_import(podman: Podman, compress: str, tmp_path: Path) -> None:
    counter = Counter(podman, "traveller")
    before = counter.count()
    archive = str(tmp_path / "archive")
    podman("container", "checkpoint", "--export", archive, "--compress", compress, "traveller")
    podman("rm", "traveller")
    podman("container", "restore", "--import", archive)
    counter.goes_on(before)
    podman("container", "restore", "--import", archive, "--name", "twin")
    counter.goes_on(before, name="twin")


def test_a_checkpoint_before_the_checkpoint(podman: Podman, tmp_path: Path) -> None:
    counter = Counter(podman, "early")
    first, last = str(tmp_path / "first.tar"), str(tmp_path / "last.tar")
    podman("container", "checkpoint", "--pre-checkpoint", "--export", first, "--compress", "none", "early")
    counter.goes_on(counter.count() + 2)
    before = counter.count()
    podman("container", "checkpoint", "--with-previous", "--export", last, "--compress", "none", "early")
    podman("rm", "early")
    podman("container", "restore", "--import-previous", first, "--import", last)
    counter.goes_on(before)


def test_a_checkpoint_image(podman: Podman) -> None:
    counter = Counter(podman, "pictured")
    before = counter.count()
    podman("container", "checkpoint", "--create-image", "localhost/woodfrog/frozen", "--keep", "pictured")
    podman("rm", "pictured")
    podman("container", "restore", "localhost/woodfrog/frozen")
    counter.goes_on(before)


def test_a_volume_travels(podman: Podman, tmp_path: Path) -> None:
    counter = Counter(podman, "loaded", "--volume", "cargo:/cargo", "--volume", f"{tmp_path}:/bound")
    podman("exec", "loaded", "/bin/bash", "-c", "echo gold >/cargo/hold; echo tin >/bound/hold")
    before = counter.count()
    archive = str(tmp_path / "archive.tar")
    podman("container", "checkpoint", "--export", archive, "--compress", "none", "loaded")
    podman("rm", "loaded")
    podman("volume", "rm", "cargo")
    podman("container", "restore", "--import", archive)
    counter.goes_on(before)
    assert podman("exec", "loaded", "/bin/cat", "/cargo/hold", "/bound/hold") == "gold\ntin"


@pytest.mark.parametrize("options", ["--file-locks --tcp-established", "--ignore-rootfs"])
def test_further_options(podman: Podman, options: str, tmp_path: Path) -> None:
    counter = Counter(podman, "optional")
    before = counter.count()
    archive = ["--export", str(tmp_path / "archive.tar")] if options == "--ignore-rootfs" else []
    podman("container", "checkpoint", *archive, *options.split(), "optional")
    podman("container", "restore", *([] if archive else options.split()), "optional")
    counter.goes_on(before)


def test_a_bridge_network_keeps_its_address(podman: Podman) -> None:
    counter = Counter(podman, "bridged", network=podman.network)
    address = podman("inspect", "--format", "{{.NetworkSettings.Networks}}", "bridged")
    fib = podman("exec", "bridged", "/bin/cat", "/proc/net/fib_trie")
    before = counter.count()
    podman("container", "checkpoint", "bridged")
    podman("container", "restore", "bridged")
    counter.goes_on(before)
    assert podman("exec", "bridged", "/bin/cat", "/proc/net/fib_trie") == fib
    assert address


def test_a_terminal(podman: Podman) -> None:
    counter = Counter(podman, "tty", "--tty", "--interactive")
    for size in ("21 81", "22 82"):
        podman("exec", "tty", "/bin/stty", "-F", "/dev/console", "rows", size[:2], "columns", size[3:])
        before = counter.count()
        podman("container", "checkpoint", "tty")
        podman("container", "restore", "tty")
        counter.goes_on(before)
        assert podman("exec", "tty", "/bin/stty", "-F", "/dev/console", "size") == size
