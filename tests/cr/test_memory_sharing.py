"""Copy-on-write sharing between parent and child is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload

pytestmark = pytest.mark.root
MIB = 1 << 20


def pss(root: int) -> int:
    """Proportional set size of a process and its children in bytes: memory shared by several counts once."""
    children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in [str(root), *children]]
    return sum(int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:")) * 1024


def test_children_share_what_they_have_not_written(tmp_path: Path) -> None:
    with Workload("cow", tmp_path) as workload:
        before = pss(workload.pid)
        workload.dump()
        workload.restore()
        after = pss(workload.restored)
        assert 64 * MIB < before < 90 * MIB
        assert after < before + 8 * MIB
        workload.check()
