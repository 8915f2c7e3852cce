"""runc checkpoint and restore, with every option, and this engine in the place of criu."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.runc.container import RuncContainer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


@contextmanager
def counting(tmp_path: Path, name: str) -> Iterator[RuncContainer]:
    with RuncContainer(tmp_path / "c", f"runc-{name}") as container:
        container.start()
        container.goes_on(beyond=2)
        yield container


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--manage-cgroups-mode=soft",
        "--manage-cgroups-mode=full",
        "--manage-cgroups-mode=strict",
        "--empty-ns=network",
    ],
)
def test_every_option_of_both_directions(tmp_path: Path, options: str) -> None:
    with counting(tmp_path, "options") as container:
        before = container.count()
        container.twice(lambda number: container.goes_on(before + number), *options.split())
        assert container.status() == "running"
