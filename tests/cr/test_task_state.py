"""State of tasks and threads comes back: signals, timers, credentials, limits, filters, calls under way, families."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload

pytestmark = pytest.mark.root
STATES = ["signals", "attributes", "credentials", "filters", "calls", "tree"]


@pytest.mark.parametrize("name", STATES)
def test_state(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.cycle()


@pytest.mark.parametrize("name", STATES)
def test_state_is_left_alone(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.dump(leave_running=True)
        workload.check()


@pytest.mark.parametrize("name", STATES)
def test_state_survives_two_rounds(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.dump()
        workload.restore()
        workload.cycle()
