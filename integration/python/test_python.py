"""A multi-threaded CPython program is frozen and thawed, in a container and on the host."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from integration.containers import WORK, Container, wait_for
from integration.trees import Tree

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

WORKLOAD = Path(__file__).with_name("workload.py")
PYTHON = "/usr/bin/python3"


def ask(path: Path) -> Any:
    """One line of the program's state, from its unix socket; None while it does not listen yet."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)  # a path of a socket has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"/proc/self/fd/{directory}/{path.name}")
            return json.loads(client.makefile().readline())
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    finally:
        os.close(directory)


def advanced(path: Path, before: Any) -> Any:
    """Wait until every counter went on from `before`; the state then."""
    least = before["counts"] if before else [0, 0, 0, 0]

    def state() -> Any:
        now = ask(path)
        return now and all(new >= old + 20 for new, old in zip(now["counts"], least, strict=True)) and now

    return wait_for(state, f"all threads to go on from {least}")


def verify(path: Path, before: Any) -> None:
    now = advanced(path, before)
    assert now["right"], now
    assert now["threads"] == before["threads"]
    assert now["clock"] >= before["clock"]


def test_in_a_container(tmp_path: Path) -> None:
    args = [PYTHON, f"{WORK}/workload.py", f"{WORK}/socket"]
    with Container(tmp_path / "c", "python", args) as container:
        shutil.copy(WORKLOAD, container.work)
        container.start()
        before = [advanced(container.work / "socket", None)]

        def check(_: int) -> None:
            verify(container.work / "socket", before[-1])
            before.append(ask(container.work / "socket"))

        container.twice(check)


def test_on_the_host(tmp_path: Path) -> None:
    with Tree(tmp_path, [PYTHON, str(WORKLOAD), "socket"]) as tree:
        before = advanced(tmp_path / "socket", None)
        for _ in range(2):
            tree.dump()
            tree.restore()
            verify(tmp_path / "socket", before)
            before = ask(tmp_path / "socket")
