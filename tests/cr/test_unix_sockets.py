"""Unix sockets through freeze and thaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload

pytestmark = pytest.mark.root


def test_unix_sockets_of_all_kinds(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path) as workload:
        workload.cycle()


def test_unix_sockets_survive_two_rounds(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path) as workload:
        workload.dump()
        workload.restore()
        workload.cycle()


def test_a_dump_that_leaves_running_takes_nothing_out_of_the_queues(tmp_path: Path) -> None:
    with Workload("unix_sockets", tmp_path) as workload:
        workload.dump(leave_running=True)
        workload.check()
