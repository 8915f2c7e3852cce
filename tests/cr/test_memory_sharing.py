"""Copy-on-write sharing between parent and child is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cr.api import pre_dump_tree
from cr.options import Options
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


@pytest.mark.parametrize(
    "options", [{"snapshot": "never"}, {"snapshot": "always"}, {"track_mem": True}], ids=["frozen", "copies", "tracked"]
)
def test_a_dump_does_not_end_the_sharing(options: dict[str, object], tmp_path: Path) -> None:
    """Each process would have pages of its own otherwise, and the tree would take a multiple of its memory."""
    with Workload("cow", tmp_path) as workload:
        before = pss(workload.pid)
        workload.dump(leave_running=True, **options)
        assert pss(workload.pid) < before + 8 * MIB
        workload.check()


def test_a_pre_dump_does_not_end_the_sharing(tmp_path: Path) -> None:
    with Workload("cow", tmp_path) as workload:
        before = pss(workload.pid)
        workload.images.mkdir(exist_ok=True)
        pre_dump_tree(Options(tree=workload.pid, images_dir=str(workload.images)))
        assert pss(workload.pid) < before + 8 * MIB
        workload.check()
