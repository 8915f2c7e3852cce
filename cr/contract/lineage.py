"""Who has to be born in which session.  Pure planning, from pids, parents and sessions alone.

A task that leads no session was born in its own.  A leader may have been born in any; but where a child of it is in
yet another session, the child was born before its parent called setsid(2), and so the parent was born in that
session itself; and so on upwards.  Or the child's real parent has died and it fell to an ancestor: that is possible
for ancestors of the session's leader.  A leader that has died is stood in for, below a task that this fits.  Those
who fall to an ancestor do so when all are born: until then they are below the leader that they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreTask
from cr.model import CheckpointError

if TYPE_CHECKING:
    from images import messages as m


def leads_session(task: RestoreTask) -> bool:
    return bool(task.entry.sid == task.vpid)


def objection(entries: list[m.pstree_entry]) -> str:
    """Why the sessions of a tree could not be rebuilt; nothing where they can."""
    tasks: dict[int, RestoreTask] = {}
    for entry in entries:
        tasks[entry.pid] = RestoreTask(entry, tasks.get(entry.ppid), [], None)
    try:
        Lineage(list(tasks.values()))
    except CheckpointError as error:
        return str(error)
    return ""


class Lineage:
    """`born`: vpid -> session at birth, where that matters; `places`: dead session -> who a stand-in is a child of."""

    def __init__(self, tasks: list[RestoreTask]) -> None:
        self.born = {task.vpid: task.entry.sid for task in tasks if not leads_session(task)}
        self.places: dict[int, RestoreTask] = {}
        self._tasks = {task.vpid: task for task in tasks}
        root = tasks[0]
        self._outer = {0} if leads_session(root) else {0, root.entry.sid}
        for sid in dict.fromkeys(self.born.values()):
            strangers = [task for task in tasks[1:] if self.born.get(task.vpid) == sid and _comes_from_elsewhere(task)]
            if sid in self._tasks or sid in self._outer:
                self._trace_back(sid, strangers)
            elif strangers:
                self._find_place(sid, strangers)

    def _trace_back(self, sid: int, strangers: list[RestoreTask]) -> None:
        """Until each is below a task of the session, or below an ancestor of its leader."""
        leader = self._tasks.get(sid)
        above = {task.vpid for task in self._line(leader)} if leader is not None else set()
        for task in strangers:
            while task.parent is not None and task.parent.entry.sid != sid and task.parent.vpid not in above:
                task = self._must_be_born_in(sid, task)

    def _find_place(self, sid: int, strangers: list[RestoreTask]) -> None:
        """The lowest of the parents, once all of them are on one line upwards."""
        strangers = [task for task in strangers if not self._trace_to_member(sid, task)]
        while strangers:
            parents = [task.parent for task in strangers if task.parent is not None]
            for lowest in parents:
                line = {task.vpid for task in self._line(lowest)}
                if all(parent.vpid in line for parent in parents):
                    self.places[sid] = lowest
                    return
            youngest = max(parents, key=lambda parent: parent.vpid)  # older ones were there before the session
            moved = self._must_be_born_in(sid, next(task for task in strangers if task.parent is youngest))
            strangers = [task for task in strangers if task.parent is not youngest]
            if moved.parent is None or moved.parent.entry.sid != sid:
                strangers.append(moved)

    def _trace_to_member(self, sid: int, task: RestoreTask) -> bool:
        """Whether a task of the session stands above; then all in between were born in the session too."""
        above = task.parent
        while above is not None and self.born.get(above.vpid) != sid:
            above = above.parent
        if above is None:
            return False
        while task.parent is not above and task.parent is not None:
            task = self._must_be_born_in(sid, task)
        return True

    def _line(self, task: RestoreTask) -> Iterator[RestoreTask]:
        """The task itself and whom it is below while all are being born."""
        here: RestoreTask | None = task
        while here is not None:
            yield here
            here = self._above(here)

    def _above(self, task: RestoreTask) -> RestoreTask | None:
        sid = self.born.get(task.vpid)
        if sid is None or task.parent is None or task.parent.entry.sid == sid or task.vpid == sid:
            return task.parent
        if self.born.get(task.parent.vpid) == sid:
            return task.parent
        return self.places.get(sid) or self._tasks.get(sid) or task.parent

    def _must_be_born_in(self, sid: int, task: RestoreTask) -> RestoreTask:
        """The parent of a task that was in this session then; CheckpointError where it never can have been."""
        parent = task.parent
        if parent is None or self.born.get(parent.vpid, sid) != sid:
            raise CheckpointError(f"task {task.vpid} is in session {sid}, which cannot be rebuilt")
        self.born[parent.vpid] = sid
        return parent


def _comes_from_elsewhere(task: RestoreTask) -> bool:
    return task.parent is not None and task.parent.entry.sid != task.entry.sid
