"""Tracking without a tree: what a page's categories mean, and what the tracker's program looks like."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from cr.dump import tracker
from cr.dump.pages import TRACKED, _sorted_out, clip, gaps
from cr.kernel import pagemap, proc
from tests.cr.harness import wait_for

SOFT = pagemap.PAGE_IS_SOFT_DIRTY
WRITTEN, WATCHED, GUARD = pagemap.PAGE_IS_WRITTEN, pagemap.PAGE_IS_WPALLOWED, pagemap.PAGE_IS_GUARD


@pytest.mark.parametrize(
    ("written", "categories", "unchanged"),
    [
        (TRACKED, WATCHED, True),
        (TRACKED, WATCHED | WRITTEN, False),
        (TRACKED, WRITTEN, False),  # of a mapping that nobody tracks
        (TRACKED, 0, False),
        (SOFT, 0, True),
        (SOFT, SOFT, False),
        (0, 0, False),
        (0, WATCHED, False),
    ],
)
def test_what_counts_as_unchanged(written: int, categories: int, unchanged: bool) -> None:
    pages = _sorted_out([(0x1000, 0x2000, categories), (0x3000, 0x4000, GUARD)], written)
    assert (pages.unchanged, pages.runs) == (([(0x1000, 0x2000)], []) if unchanged else ([], [(0x1000, 0x2000)]))
    assert pages.guards == [(0x3000, 0x4000)]


def test_spans_and_what_is_between_them() -> None:
    spans = [(2, 4), (6, 8)]
    assert gaps(spans) == [(0, 2), (4, 6), (8, 1 << 64)]
    assert gaps([(0, 3)]) == [(3, 1 << 64)]
    assert list(clip([(1, 7)], spans)) == [(2, 4), (6, 7)]
    assert list(clip([(1, 7)], gaps(spans))) == [(1, 2), (4, 6)]


def test_the_program_holds_its_numbers() -> None:
    code = tracker.code(tasks=3, token=7)
    assert code.endswith(b"woodfrog-track\0")
    assert code.count(bytes([7, 0, 0, 0])) >= 2
    assert len(tracker.code(0x44332211, 0x88776655)) == len(code)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def _of(run_id: str) -> tracker.Tracker | None:
    return next((found for found in tracker.running() if found.run_id == run_id), None)


def _bury(found: tracker.Tracker) -> None:
    """Wait for the end of a tracker that is our own child."""
    _, status = wait_for(lambda: _ended(found.pid), "the tracker to end")
    assert status == 0
    os.close(found.pidfd)


def _ended(pid: int) -> tuple[int, int] | None:
    result = os.waitpid(pid, os.WNOHANG)
    return result if result[0] else None


def test_a_tracker_ends_with_its_task_and_not_before(sleeper: subprocess.Popen[bytes]) -> None:
    """By soft-dirty bits: it holds nothing but the knowledge since when they are kept."""
    run_id = f"test-{os.getpid()}-{sleeper.pid}"
    task = sleeper.pid, proc.stat(sleeper.pid).start_time
    starting = tracker.Starting(run_id, [tracker.Tracked(*task, -1)])
    starting.go()
    found = _of(run_id)
    assert found is not None
    assert found.rows == {task: -1}
    assert found.take(task) == -1
    assert os.getsid(found.pid) == found.pid
    assert os.listdir(f"/proc/{found.pid}/fd") == ["0"]
    sleeper.kill()
    _bury(found)


def test_a_tracker_whose_dump_is_given_up_ends(sleeper: subprocess.Popen[bytes]) -> None:
    run_id = f"test-{os.getpid()}-{sleeper.pid}"
    starting = tracker.Starting(run_id, [tracker.Tracked(sleeper.pid, proc.stat(sleeper.pid).start_time, -1)])
    found = wait_for(lambda: _of(run_id), "the tracker")
    starting.give_up()
    _bury(found)
