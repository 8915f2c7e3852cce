"""Which task has to be born in which session: pure planning."""

from __future__ import annotations

import pytest

from cr.contract.lineage import Lineage, objection
from cr.contract.restoring import RestoreTask
from cr.model import CheckpointError
from images import messages as m


def family(*rows: tuple[int, int, int]) -> list[RestoreTask]:
    """Tasks from (pid, parent's pid, session)."""
    tasks: dict[int, RestoreTask] = {}
    for pid, ppid, sid in rows:
        entry = m.pstree_entry(pid=pid, ppid=ppid, pgid=sid, sid=sid, threads=[pid])
        tasks[pid] = RestoreTask(entry, tasks.get(ppid), [], None)
    return list(tasks.values())


def born(*rows: tuple[int, int, int]) -> dict[int, int]:
    """Sessions at birth of those that have left them."""
    lineage = Lineage(family(*rows))
    leaders = {pid for pid, _, sid in rows if pid == sid}
    return {pid: sid for pid, sid in lineage.born.items() if pid in leaders}


def test_a_leader_was_born_anywhere() -> None:
    assert born((1, 0, 1), (2, 1, 2), (3, 2, 3), (4, 3, 3)) == {}


def test_ancestors_had_not_left_the_session_yet() -> None:
    assert born((1, 0, 1), (2, 1, 2), (3, 2, 3), (4, 3, 1)) == {3: 1, 2: 1}


def test_a_session_from_outside_reaches_the_root() -> None:
    assert born((1, 0, 1), (2, 1, 0)) == {1: 0}
    assert born((5, 0, 4), (6, 5, 6), (7, 6, 4)) == {6: 4}


def test_an_orphan_falls_to_an_ancestor_of_its_leader() -> None:
    assert born((1, 0, 1), (2, 1, 2), (3, 2, 3), (4, 1, 3)) == {}


def test_a_dead_leader_stood_below_the_lowest_parent() -> None:
    lineage = Lineage(family((1, 0, 1), (2, 1, 2), (3, 2, 9), (4, 1, 9)))
    assert {sid: task.vpid for sid, task in lineage.places.items()} == {9: 2}


def test_a_dead_leader_had_children_that_have_left() -> None:
    lineage = Lineage(family((1, 0, 1), (2, 1, 2), (3, 2, 9), (4, 1, 4), (5, 4, 9)))
    assert {sid: task.vpid for sid, task in lineage.places.items()} == {9: 2}
    assert lineage.born == {3: 9, 5: 9, 4: 9}


def test_who_was_below_another_before_it_fell() -> None:
    tasks = family((5, 0, 5), (6, 5, 6), (8, 6, 7), (15, 6, 12), (10, 5, 10), (11, 10, 7), (13, 10, 12))
    lineage = Lineage(tasks)
    assert {sid: task.vpid for sid, task in lineage.places.items()} == {7: 6, 12: 10}
    assert lineage.born[10] == 7


def test_what_cannot_have_happened() -> None:
    tasks = family((1, 0, 1), (2, 1, 1), (3, 1, 3), (4, 2, 3))
    with pytest.raises(CheckpointError, match="session 3"):
        Lineage(tasks)
    assert "session 3" in objection([task.entry for task in tasks])
    assert objection([task.entry for task in tasks[:3]]) == ""


def test_who_is_below_a_task_of_a_dead_leaders_session_was_born_in_it() -> None:
    """The leader 3 stood below 2; 5 has called setsid(2) since, which 6 was born before."""
    lineage = Lineage(family((1, 0, 1), (2, 1, 2), (4, 2, 3), (5, 4, 5), (6, 5, 3)))
    assert {sid: task.vpid for sid, task in lineage.places.items()} == {3: 2}
    assert lineage.born == {4: 3, 5: 3, 6: 3}


def test_the_place_of_a_dead_leader_is_found_in_the_end() -> None:
    """Two below a member of the session, one of them two steps down, and one far from it."""
    rows = [(1, 0, 1), (4, 1, 4), (6, 4, 2), (8, 6, 8), (10, 6, 10), (13, 6, 2), (27, 8, 8), (19, 10, 2), (26, 10, 10)]
    lineage = Lineage(family(*rows))
    assert {sid: task.vpid for sid, task in lineage.places.items()} == {2: 4}
    assert lineage.born[10] == 2
