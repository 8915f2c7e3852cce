"""crun checkpoint and restore, with this engine in the place of criu."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from integration.counting.checks import (
    SHELL,
    comes_back,
    comes_back_at_a_terminal,
    comes_back_from_a_chain,
    is_left_running,
    keeper,
)
from integration.crun.container import CrunContainer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("options", ["", "--tcp-established", "--shell-job", "--file-locks", "--ext-unix-sk"])
def test_options_of_both_directions(tmp_path: Path, options: str) -> None:
    with CrunContainer.counting(tmp_path, "options") as container:
        comes_back(container, *options.split())


def test_leave_running(tmp_path: Path) -> None:
    with CrunContainer.counting(tmp_path, "running") as container:
        is_left_running(container)


def test_a_pre_dump_and_a_parent(tmp_path: Path) -> None:
    with CrunContainer.counting(tmp_path, "before") as container:
        comes_back_from_a_chain(container, 1)


def test_established_connections_in_a_network_namespace_of_its_own(tmp_path: Path) -> None:
    with CrunContainer.talking(tmp_path) as container:
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
        comes_back(container)
        assert os.stat(f"/proc/{container.pids()[0]}/ns/net").st_ino == os.stat(path).st_ino
