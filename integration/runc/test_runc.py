"""runc checkpoint and restore, with every option, and this engine in the place of criu."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from integration.containers import ENGINE, ENVIRONMENT, PROJECT, free_port, wait_for
from integration.counting.checks import (
    SHELL,
    comes_back,
    comes_back_at_a_terminal,
    comes_back_from_a_chain,
    is_left_running,
    keeper,
)
from integration.runc.container import RuncContainer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--auto-dedup",
        "--manage-cgroups-mode=soft",
        "--manage-cgroups-mode=full",
        "--manage-cgroups-mode=strict",
        "--empty-ns=network",
    ],
)
def test_every_option_of_both_directions(tmp_path: Path, options: str) -> None:
    with RuncContainer.counting(tmp_path, "options") as container:
        comes_back(container, *options.split())


def test_pre_dumps_and_a_parent(tmp_path: Path) -> None:
    with RuncContainer.counting(tmp_path, "before") as container:
        comes_back_from_a_chain(container, 2)


def test_pages_over_the_network(tmp_path: Path) -> None:
    with RuncContainer.counting(tmp_path, "pages") as container:
        before, images = container.count(), container.place / f"images{container.rounds + 1}"
        images.mkdir()
        page_server = ["page-server", "--address", "127.0.0.1", "--images-dir", str(images), "--status-fd", "1"]
        with subprocess.Popen(
            [*ENGINE, *page_server, "--port", str(port := free_port())],
            env=ENVIRONMENT,
            cwd=PROJECT,
            stdout=subprocess.PIPE,
        ) as server:
            assert server.stdout is not None and server.stdout.read(1) == b"\0"
            container.checkpoint("--page-server", f"127.0.0.1:{port}")
            assert server.wait(60) == 0
        container.restore()
        container.goes_on(before)


def test_pages_on_demand(tmp_path: Path) -> None:
    """With criu the restore of a container fails."""
    with RuncContainer.counting(tmp_path, "lazy") as container:
        before = container.count()
        container.checkpoint()
        lazy = ["lazy-pages", "--images-dir", str(container.images), "--work-dir", str(container.images)]
        with subprocess.Popen([*ENGINE, *lazy], env=ENVIRONMENT, cwd=PROJECT) as daemon:
            wait_for((container.images / "lazy-pages.socket").exists, "the daemon")
            container.restore("--lazy-pages")
            container.goes_on(before)
            assert daemon.wait(60) == 0
        container.goes_on(container.count() + 2)


def test_leave_running(tmp_path: Path) -> None:
    with RuncContainer.counting(tmp_path, "running") as container:
        is_left_running(container)


def test_a_paused_container_is_frozen_and_runs_when_it_is_thawed(tmp_path: Path) -> None:
    """With criu the restore hangs: its own processes land in a cgroup that is still frozen."""
    with RuncContainer.counting(tmp_path, "paused") as container:
        container.verb("pause", container.name)
        comes_back(container)


def test_a_paused_container_that_is_left_stays_paused(tmp_path: Path) -> None:
    with RuncContainer.counting(tmp_path, "paused") as container:
        container.verb("pause", container.name)
        before = container.count()
        container.snapshot("--leave-running")
        assert container.status() == "paused"
        assert container.count() == before
        container.verb("resume", container.name)
        container.goes_on(before + 2)


def test_established_connections_in_a_network_namespace_of_its_own(tmp_path: Path) -> None:
    """With criu: "Network is unreachable", since lo is down in the empty namespace that runc asks for."""
    with RuncContainer.talking(tmp_path) as container:
        container.twice(lambda number: container.goes_on(container.count() + 2), "--tcp-established")


def test_without_the_option_connections_are_refused_and_go_on(tmp_path: Path) -> None:
    with RuncContainer.talking(tmp_path) as container:
        container.rounds += 1
        with pytest.raises(AssertionError, match="use --tcp-established"):
            container.verb("checkpoint", "--image-path", str(container.images), container.name)
        container.goes_on(container.count() + 2)


def test_in_a_user_namespace(tmp_path: Path) -> None:
    """With criu the restore fails: its image directory is closed to the users of the namespace."""
    with RuncContainer(tmp_path / "c", "runc-user") as container:
        linux = container.config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 65536}]
        container.start()
        container.goes_on(beyond=2)
        comes_back(container)


def test_a_terminal(tmp_path: Path) -> None:
    with RuncContainer(tmp_path / "c", "runc-tty", SHELL) as container:
        comes_back_at_a_terminal(container)


def test_pipes_and_what_is_bound(tmp_path: Path) -> None:
    """Standard descriptors that are pipes of the caller; binds, and a file over a file."""
    (tmp_path / "bound").mkdir()
    (tmp_path / "bound" / "file").write_text("of the host\n")
    script = 'while read -r line; do echo "$line $(cat /bound/file) $(cat /etc/one)"; done'
    with RuncContainer(tmp_path / "c", "runc-pipes", ["/bin/bash", "-c", script]) as container:
        container.config["mounts"] += [
            {"destination": "/bound", "type": "bind", "source": str(tmp_path / "bound"), "options": ["rbind", "ro"]},
            {
                "destination": "/etc/one",
                "type": "bind",
                "source": str(tmp_path / "bound" / "file"),
                "options": ["bind"],
            },
        ]
        with container.pipes():
            container.start()
            assert container.ask("first") == "first of the host of the host"
        for word in ("second", "third"):
            container.checkpoint()
            with container.pipes():
                container.restore()
                assert container.ask(word) == f"{word} of the host of the host"


@pytest.mark.parametrize("kind", ["network", "pid", "ipc", "uts"])
def test_namespaces_of_somebody_else(tmp_path: Path, kind: str) -> None:
    """Namespaces joined by path."""
    with RuncContainer(tmp_path / "c", "runc-join") as container, keeper() as pid:
        spaces = container.config["linux"]["namespaces"]
        file = {"network": "net"}.get(kind, kind)
        next(space for space in spaces if space["type"] == kind)["path"] = f"/proc/{pid}/ns/{file}"
        container.start()
        container.goes_on(beyond=2)
        comes_back(container)
