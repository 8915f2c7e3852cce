"""The bench itself: its table and its reading of what engines print."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import lifecycle
from tests.bench.cases import CASES, Case
from tests.bench.engines import engines, frozen_seconds
from tests.bench.machine import describe
from tests.bench.measure import Figures, median, once
from tests.bench.table import HEAD, rows


def figures(scale: float) -> Figures:
    return Figures(*(scale * value for value in (0.01, 0.02, 0.03, 1 << 20, 2 << 20, 3 << 20)))


def test_medians_are_taken_of_each_figure() -> None:
    assert median([figures(1), figures(5), figures(2)]) == figures(2)


def test_the_table_has_a_ratio_where_two_engines_were_measured() -> None:
    alone = list(rows("a case", {"ours": figures(1)}))
    both = list(rows("a case", {"ours": figures(1), "theirs": figures(2)}))
    assert [row[1] for row in alone] == ["ours"]
    assert [row[1] for row in both] == ["ours", "theirs", "ratio"]
    assert both[2][2:] == ["0.50"] * 6
    assert all(len(row) == len(HEAD) for row in both)


def test_the_time_frozen_is_found_in_what_is_printed() -> None:
    assert frozen_seconds("Freezing time: 12 us\nFrozen time: 2500 us\n") == 0.0025
    with pytest.raises(RuntimeError, match="no frozen time"):
        frozen_seconds("")


def test_the_machine_is_described(tmp_path: Path) -> None:
    assert "GiB" in describe(tmp_path)


def test_the_oracle_is_measured_only_where_there_is_one() -> None:
    assert [engine.name for engine in engines("")] == ["woodfrog"]
    assert [engine.name for engine in engines("/bin/true")] == ["woodfrog", "criu"]


@pytest.mark.root
def test_a_case_is_measured(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "1mib")
    found = once(Case("small", "small", case.program), engines("")[0], tmp_path)
    assert 0 < found.frozen < found.dump
    assert found.images > 1 << 20
    assert found.dump_peak > 1 << 20
    assert list(tmp_path.iterdir()) == []


def test_rows_of_a_containers_life() -> None:
    found = lifecycle.rows({"woodfrog": [0.1, 0.02, 0.03], "runc": [0.03, 0.02, 0.03]})
    assert found[0] == ["busybox", "woodfrog", "100.0 ms", "20.0 ms", "30.0 ms", "150.0 ms"]
    assert [row[0] for row in found] == ["busybox", ""]
    assert all(len(row) == len(lifecycle.HEAD) for row in found)
