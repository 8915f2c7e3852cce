"""podman container checkpoint and restore, over runc and over woodfrog, with this engine in the place of criu."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import shims
from integration.containers import wait_for
from integration.counting.container import COUNTER
from integration.podman.engine import IMAGE, Counter, Podman

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


def test_all_and_the_latest(podman: Podman) -> None:
    counters = [Counter(podman, f"all{number}") for number in range(3)]
    before = [counter.count() for counter in counters]
    podman("container", "checkpoint", "--all")
    assert not any(counter.running() for counter in counters)
    podman("container", "restore", "--all")
    for counter, beyond in zip(counters, before, strict=True):
        counter.goes_on(beyond)
    podman("container", "checkpoint", "--latest")
    assert not counters[-1].running()
    before[-1] = counters[-1].count()
    podman("container", "restore", "--latest")
    counters[-1].goes_on(before[-1])


def test_a_volume_stays(podman: Podman, tmp_path: Path) -> None:
    """--ignore-volumes: its content is not in the archive."""
    counter = Counter(podman, "light", "--volume", "cargo:/cargo")
    podman("exec", "light", "/bin/bash", "-c", "echo gold >/cargo/hold")
    archive = str(tmp_path / "archive.tar")
    before = counter.count()
    podman("container", "checkpoint", "--ignore-volumes", "--export", archive, "--compress", "none", "light")
    with tarfile.open(archive) as tar:
        assert not [name for name in tar.getnames() if name.startswith("volumes")]
    podman("rm", "light")
    podman("container", "restore", "--ignore-volumes", "--import", archive)
    counter.goes_on(before)
    assert podman("exec", "light", "/bin/cat", "/cargo/hold") == "gold"


def test_twins_with_addresses_of_their_own(podman: Podman, tmp_path: Path) -> None:
    """--ignore-static-ip and --ignore-static-mac: the first goes on with what the archive has."""
    address = podman.address(77)
    counter = Counter(podman, "fixed", "--ip", address, "--mac-address", "02:42:00:00:00:07", network=podman.network)
    archive = str(tmp_path / "archive")
    before = counter.count()
    podman("container", "checkpoint", "--export", archive, "--leave-running", "fixed")
    ignore = ("--ignore-static-ip", "--ignore-static-mac")
    podman("container", "restore", *ignore, "--import", archive, "--name", "other")
    counter.goes_on(before, name="other")
    fib = {name: podman("exec", name, "/bin/cat", "/proc/net/fib_trie") for name in ("fixed", "other")}
    assert address in fib["fixed"]
    assert address not in fib["other"]


def test_into_a_pod(podman: Podman, tmp_path: Path) -> None:
    shims.binary("WOODFROG_TEST_CATATONIT", "catatonit, which runs a pod's own container")
    archive = str(tmp_path / "archive")
    pod = ("pod", "create", "--network", "none", "--share-parent=false", "--share", "net,ipc,uts")
    try:
        podman(*pod, "--name", "first")
        podman("run", "--detach", "--name", "member", "--pod", "first", IMAGE, "/bin/bash", "-c", COUNTER)
        wait_for(lambda: number_in(podman, "member") > 2, "the container to count")
        podman("container", "checkpoint", "--export", archive, "member")
        before = number_in(podman, "member")
        podman(*pod, "--name", "second")
        podman("pod", "start", "second")
        second = podman("pod", "inspect", "--format", "{{.Id}}", "second")
        podman("container", "restore", "--import", archive, "--pod", second, "--name", "moved")
        wait_for(lambda: number_in(podman, "moved") > before, "the container to go on")
        assert podman("exec", "moved", "/bin/cat", "/data/starts") == "start"
    finally:
        podman("pod", "rm", "--force", "--all", "--time", "0")


def number_in(podman: Podman, name: str) -> int:
    """How far a container has counted."""
    try:
        return int((podman.root_of(name) / "data" / "count").read_text())
    except FileNotFoundError:
        return 0
