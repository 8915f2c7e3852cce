"""One case under one engine: dumped and restored several times, medians of everything."""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

from tests.bench.cases import Case, end_tree, longest_pause, tree, wait_gone
from tests.bench.engines import Engine, frozen_seconds


@dataclass(frozen=True)
class Figures:
    """Seconds and bytes."""

    frozen: float
    dump: float
    restore: float
    images: float
    dump_peak: float
    restore_peak: float


def median(samples: list[Figures]) -> Figures:
    return Figures(*(statistics.median(getattr(sample, field.name) for sample in samples) for field in fields(Figures)))


def once(case: Case, engine: Engine, place: Path) -> Figures:
    """Start it, dump it, restore it, end it.  What the images take on disk is freed again."""
    with tempfile.TemporaryDirectory(dir=place, prefix="bench-") as name:
        directory = Path(name)
        images = directory / "images"
        images.mkdir()
        with case.running(directory) as pid:
            pids = tree(pid)
            dumped = engine.dump(pid, images, *(["--leave-running"] if case.busy else []))
            frozen = longest_pause(pid, directory) if case.busy else frozen_seconds(dumped.output)
        wait_gone(pids)
        size = sum(entry.stat().st_size for entry in images.iterdir() if entry.suffix == ".img")
        os.sync()  # what the dump left to be written must not slow the restore down
        pidfile = directory / "pid"
        restored = engine.restore(images, pidfile)
        end_tree(int(pidfile.read_text()))
        return Figures(frozen, dumped.seconds, restored.seconds, size, dumped.peak, restored.peak)
