"""The whole way: processes with threads, children, files and memory are frozen and thawed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cr.harness import Workload, alive

pytestmark = pytest.mark.root


def test_threads_and_children_count_on(tmp_path: Path) -> None:
    with Workload("threads", tmp_path) as workload:
        workload.cycle()


def test_a_tree_can_be_dumped_and_restored_again_and_again(tmp_path: Path) -> None:
    with Workload("threads", tmp_path) as workload:
        for _ in range(3):
            workload.dump()
            workload.restore()
        workload.check()


def test_leave_running_leaves_it_running(tmp_path: Path) -> None:
    with Workload("threads", tmp_path) as workload:
        report = workload.dump(leave_running=True)
        assert report.tasks == 2
        assert alive(workload.pid)
        workload.check()


def test_status_fd_says_that_the_images_are_complete(tmp_path: Path) -> None:
    read, write = os.pipe()
    with Workload("threads", tmp_path) as workload:
        workload.dump(leave_running=True, status_fd=write)
        assert (workload.images / "inventory.img").exists()
        assert os.read(read, 2) == b"\0"
        assert os.read(read, 2) == b"", "it is closed"
    os.close(read)
