"""Tasks that have used up what they may have: dumped and restored all the same, or refused with the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from cr.model import CheckpointError
from tests.cr.harness import Workload

pytestmark = pytest.mark.root
FEW = int(Path("/proc/sys/vm/max_map_count").read_text()) <= 1 << 17
needs_few_mappings = pytest.mark.skipif(
    not FEW, reason="this kernel lacks a limit on mappings that can be reached soon"
)


@pytest.mark.parametrize("limits", [[], ["hard", "room"]], ids=["soft", "hard, with room"])
def test_soft_limits_are_no_obstacle(limits: list[str], tmp_path: Path) -> None:
    with Workload("at_limits", tmp_path, limits) as workload:
        workload.dump(leave_running=True)
        workload.cycle()


def test_without_room_up_to_the_hard_limit_it_runs_on(tmp_path: Path) -> None:
    with Workload("at_limits", tmp_path, ["hard"]) as workload:
        with pytest.raises(
            CheckpointError, match=r"no room for \d+ bytes of scratch memory: raise its limits \(RLIMIT_AS"
        ):
            workload.dump()
        workload.check()


@needs_few_mappings
def test_no_mapping_more(tmp_path: Path) -> None:
    with Workload("many_mappings", tmp_path) as workload:
        with pytest.raises(CheckpointError, match=r"no room for .* or /proc/sys/vm/max_map_count"):
            workload.dump()
        workload.check()


@needs_few_mappings
def test_two_mappings_more(tmp_path: Path) -> None:
    with Workload("many_mappings", tmp_path, ["room"]) as workload:
        workload.dump(leave_running=True)
        workload.cycle()
