"""crun checkpoint and restore, with this engine in the place of criu."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.crun.container import CrunContainer
from integration.runc.container import SHELL, comes_back_at_a_terminal
from integration.runc.test_runc import keeper

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]
TALKER = Path(__file__).parent.parent / "runc" / "talker.py"


@contextmanager
def counting(tmp_path: Path, name: str) -> Iterator[CrunContainer]:
    with CrunContainer(tmp_path / "c", f"crun-{name}") as container:
        container.start()
        container.goes_on(beyond=2)
        yield container


@pytest.mark.parametrize("options", ["", "--tcp-established", "--shell-job", "--file-locks", "--ext-unix-sk"])
def test_options_of_both_directions(tmp_path: Path, options: str) -> None:
    with counting(tmp_path, "options") as container:
        before = container.count()
        container.twice(lambda number: container.goes_on(before + number), *options.split())
        assert container.status() == "running"


def test_leave_running(tmp_path: Path) -> None:
    with counting(tmp_path, "running") as container:
        pids = container.pids()
        container.snapshot("--leave-running")
        assert container.pids() == pids
        container.goes_on(container.count() + 2)


def test_a_pre_dump_and_a_parent(tmp_path: Path) -> None:
    """With criu: not on a kernel that has no soft-dirty."""
    with counting(tmp_path, "before") as container:
        before = container.count()
        container.snapshot("--pre-dump")
        container.goes_on(container.count() + 2)
        container.checkpoint("--parent-path", f"../{container.images.name}")
        container.restore(fresh=True)
        container.goes_on(before + 2)


def test_established_connections_in_a_network_namespace_of_its_own(tmp_path: Path) -> None:
    with CrunContainer(tmp_path / "c", "crun-tcp", ["/usr/bin/python3", "-c", TALKER.read_text()]) as container:
        container.start()
        container.goes_on(beyond=2)
        container.twice(lambda number: container.goes_on(container.count() + 2), "--tcp-established")


def test_a_terminal(tmp_path: Path) -> None:
    with CrunContainer(tmp_path / "c", "crun-tty", SHELL) as container:
        comes_back_at_a_terminal(container)


def test_a_network_namespace_of_somebody_else(tmp_path: Path) -> None:
    with CrunContainer(tmp_path / "c", "crun-net") as container, keeper() as keeping:
        path = f"/proc/{keeping}/ns/net"
        next(s for s in container.config["linux"]["namespaces"] if s["type"] == "network")["path"] = path
        container.start()
        container.goes_on(beyond=2)
        before = container.count()
        container.twice(lambda number: container.goes_on(before + number))
        assert os.stat(f"/proc/{container.pids()[0]}/ns/net").st_ino == os.stat(path).st_ino
