"""Descriptors of every kind are dumped and restored by the workloads that check themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cr.harness import Workload

pytestmark = pytest.mark.root


@pytest.mark.parametrize("name", ["pipes", "events", "files", "locks", "memory_files", "processes", "bpf_maps"])
def test_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        workload.cycle(link_remap=True, file_locks=True)
