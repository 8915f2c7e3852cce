"""inotify on overlayfs, whose file handles open nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cr.harness import Workload

pytestmark = pytest.mark.root


@pytest.fixture(params=["same", "other"])
def overlay(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An overlay whose layers are on one filesystem, or on two: that decides about inode numbers.

    The first file of each of two filesystems has the same number as the other.
    """
    upper_place, lower, merged = (tmp_path / name for name in ("layers", "below", "merged"))
    for place in (upper_place, lower, merged):
        place.mkdir()
    mounted = [merged]
    for place in [upper_place, lower] if request.param == "other" else []:
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
        mounted.append(place)
    for name in ("lower/deep/down", "both"):
        (lower / name).mkdir(parents=True)
    for name in ("upper", "both"):
        (upper_place / "upper" / name).mkdir(parents=True)
    (upper_place / "work").mkdir()
    for file in (lower / "lower" / "file", lower / "both" / "same", upper_place / "upper" / "both" / "other"):
        file.write_text("content")
    options = f"lowerdir={lower},upperdir={upper_place}/upper,workdir={upper_place}/work"
    subprocess.run(["mount", "-t", "overlay", "none", "-o", options, merged], check=True)
    yield merged
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def test_watches_of_an_overlay(overlay: Path, tmp_path: Path) -> None:
    place = tmp_path / "work"
    place.mkdir()
    with Workload("watched_overlay", place, [str(overlay)]) as workload:
        for _ in range(2):
            workload.dump()
            workload.restore()
        workload.check()
