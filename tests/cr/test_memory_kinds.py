"""Every kind of memory comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload

pytestmark = pytest.mark.root

# fmt: off
SIMPLE = (
    "anonymous", "noreserve", "protected", "locked", "locked-on-fault", "dontfork", "wipeonfork", "dontdump",
    "mergeable", "hugepage", "nohugepage", "sequential", "guard", "heap", "grows-down", "private-file",
    "shared-file", "short-file", "part-of-file", "dev-zero", "shared", "shared-with-child", "opened-shared", "memfd",
    "aio", "aio-waiting", "no-huge-pages", "no-vdso", "no-vdso-code", "sealed",
    "execute-only", "more-than-there-is",
)
# fmt: on


@pytest.mark.parametrize("kind", SIMPLE)
def test_comes_back(kind: str, tmp_path: Path) -> None:
    with Workload("memory_kinds", tmp_path, [kind]) as workload:
        workload.cycle()


def test_a_system_v_segment(tmp_path: Path) -> None:
    with Workload("memory_kinds", tmp_path, ["sysv"], prefix=["unshare", "--ipc"]) as workload:
        workload.cycle()


@pytest.mark.slow
def test_very_many_mappings(tmp_path: Path) -> None:
    with Workload("memory_kinds", tmp_path, ["many"]) as workload:
        workload.cycle()


@pytest.mark.parametrize("kind", ["huge-private", "huge-shared"])
def test_huge_pages(kind: str, tmp_path: Path) -> None:
    knob = Path("/proc/sys/vm/nr_hugepages")
    before = knob.read_text()
    knob.write_text(str(int(before) + 8))
    try:
        with Workload("memory_kinds", tmp_path, [kind]) as workload:
            workload.cycle()
    finally:
        knob.write_text(before)


def test_a_task_without_room_for_more(tmp_path: Path) -> None:
    with Workload("memory_kinds", tmp_path, ["tight"]) as workload:
        workload.cycle()
