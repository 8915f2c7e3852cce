"""Sessions and process groups: what each birth has to come before or after.

A child inherits the session of its parent at that moment; setsid(2) cannot be undone.  So children of a
parent's former session are born before it calls setsid, those of its own session afterwards (cr.contract.lineage says
which).  A task whose session is neither has lost its real parent: a passing helper inside that session bears it and
ends, and it falls to its new parent as it once did (PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

from cr.contract.lineage import Lineage, leads_session
from cr.contract.nesting import pid_seen_by, pids_of
from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import controls, proc
from cr.model import CheckpointError
from cr.remote.foothold import Identity
from cr.remote.program import Program
from cr.remote.tracee import Tracee
from cr.resources.tasks import namespaces_of_children
from cr.restore import births, descent, helpers, namespaces
from cr.restore.births import Mother
from cr.restore.inheritance import strangers
from cr.restore.pids import FIRST, place_of
from cr.values import dataclass

WALL = 0x40000000


@dataclass(frozen=True)
class _Passing:
    """A helper that stands between a child and its parent until all are born; `mother` waits for its end."""

    puppet: Tracee
    pid: int
    mother: Mother
    child: RestoreTask


_Rest = tuple[RestoreTask, "list[RestoreTask | None]"]
"""a task, and what is left of its steps"""


class Family:
    """Bears the puppets of a tree, each with its session and group."""

    def __init__(self, context: RestoreContext) -> None:
        self.context = context
        self.inherited: dict[int, int] = {}
        """vpid -> session at birth, by its number in the images"""
        self.orphans: list[RestoreTask] = []
        self.helpers: dict[int, Mother] = {}
        """pid -> who stands in for a dead leader, at home where its parent is"""
        self.passing: list[_Passing] = []
        self.lineage = Lineage(context.tasks)

    def grow(self) -> Iterator[RestoreTask]:
        """Tasks as they come into being, parents first; whoever asks builds their memory before asking on.

        Children that share no memory with a task are born before it has any, which is cheaper: the others
        are copies of it.
        """
        root = self.context.root
        self.inherited[root.vpid] = 0 if leads_session(root) else root.entry.sid
        queue: list[RestoreTask] = [root]
        waiting: list[_Rest] = []
        while queue or waiting or self.orphans:
            if not queue:
                queue, waiting = self._go_on(waiting)
                continue
            task = queue.pop(0)
            steps = self._steps(task)
            before = list(takewhile(lambda step: step is None or strangers(task, step), steps))  # noqa: B023
            left = self._take(task, before)
            yield task
            left = left + steps[len(before) :] if left else self._take(task, steps[len(before) :])
            waiting += [(task, left)] if left else []
            queue += [child for child in steps if child is not None and child not in left]
            if not left:
                namespaces_of_children.of_time(task, self.context)
        self._let_fall()

    def _go_on(self, waiting: list[_Rest]) -> tuple[list[RestoreTask], list[_Rest]]:
        """(born, still waiting): those whose pid namespace has its first task, or whose session its leader, by now."""
        born, still = [], []
        for task, steps in waiting:
            left = self._take(task, steps)
            if not left:
                namespaces_of_children.of_time(task, self.context)
            born += [child for child in steps if child is not None and child not in left]
            still += [(task, left)] if left else []
        born += [] if born else self._adopt_orphans()
        if not born and len(still) == len(waiting):
            late = next(step for _, steps in still for step in steps if step is not None)
            raise CheckpointError(f"{late} is in a pid namespace whose first process does not come before it")
        return born, still

    def _steps(self, task: RestoreTask) -> list[RestoreTask | None]:
        """The children in the order of their births; None stands for setsid(2) of the task itself."""
        former, born = self.inherited[task.vpid], self.lineage.born
        early = [child for child in task.children if born.get(child.vpid, task.entry.sid) == former]
        late = [child for child in task.children if born.get(child.vpid, task.entry.sid) == task.entry.sid]
        late = [child for child in late if child not in early]
        self.orphans += [child for child in task.children if child not in early + late]
        own = task.ids.time_ns_id if task.ids is not None else 0

        def differs(child: RestoreTask) -> bool:  # its mother unshares before it is born
            return child.ids is not None and child.ids.time_ns_id != own

        for children in (early, late):
            children.sort(key=lambda child: (self._joins(task, child), differs(child), not strangers(task, child)))
        return [*early, *([None] if leads_session(task) else []), *late]

    def _joins(self, home: RestoreTask, child: RestoreTask) -> bool:
        """Whether a child is in a pid namespace that is neither its mother's nor made with it."""
        pids, space = place_of(child, self.context)
        return space != place_of(home, self.context)[1] and pids[-1] != FIRST

    def _take(self, task: RestoreTask, steps: list[RestoreTask | None]) -> list[RestoreTask | None]:
        """Do these steps; what is left from the first one on that has to wait for another task's birth."""
        former = self.inherited[task.vpid]
        for index, child in enumerate(steps):
            if child is None:
                self._call(task.puppet, task.leader.identity, "setsid")
            elif self._joins(task, child) and not self._is_there(child):
                return steps[index:]
            else:
                early = self.lineage.born.get(child.vpid, task.entry.sid) == former
                self._bear(task, child, former if early else task.entry.sid)
        return []

    def _is_there(self, child: RestoreTask) -> bool:
        """Whether somebody is in the child's pid namespace."""
        return self.context.is_made("pid_ns_id", place_of(child, self.context)[1])

    def _bear(self, parent: RestoreTask, child: RestoreTask, session: int) -> None:
        namespaces_of_children.of_time(parent, self.context, child)
        descent.bear_child(self.context, parent, child)
        namespaces.enter(self.context, child, parent)
        self._follow_from_outside(parent, child)
        self.inherited[child.vpid] = session

    def _adopt_orphans(self) -> list[RestoreTask]:
        """Those whose session exists by now; where its leader has died, a helper leads it for a while."""
        tasks = {task.vpid: task for task in self.context.tasks}
        born, places = self.lineage.born, self.lineage.places
        ready = [child for child in self.orphans if born[child.vpid] in tasks and born[child.vpid] in self.inherited]
        if not ready:
            led = {sid for sid, place in places.items() if place.vpid in self.inherited}
            ready = [child for child in self.orphans if born[child.vpid] in led][:1]
        if self.orphans and not ready:
            raise CheckpointError(
                f"{self.orphans[0]} is in session {born[self.orphans[0].vpid]}, which cannot be rebuilt"
            )
        for child in ready:
            self.orphans.remove(child)
            self._adopt(child, tasks.get(born[child.vpid]))
        return ready

    def _adopt(self, child: RestoreTask, leader: RestoreTask | None) -> None:
        parent, sid = child.parent, self.lineage.born[child.vpid]
        assert parent is not None  # the root is nobody's orphan
        mother = Mother(leader.puppet, leader.leader.identity, leader) if leader is not None else self._stand_in(sid)
        passing, pid = helpers.bear_helper(self.context, mother)
        descent.bear_task(self.context, Mother(passing, Identity(pid, pid), mother.home), child)
        child.born_with = mother.home.space
        namespaces.enter(self.context, child, mother.home)
        self.passing.append(_Passing(passing, pid, mother, child))
        self.inherited[child.vpid] = sid

    def _let_fall(self) -> None:
        """The passing helpers end, the last one first; their children fall to their parents."""
        while self.passing:
            helper = self.passing.pop()
            parent = helper.child.parent
            assert parent is not None
            self._call(parent.puppet, parent.leader.identity, "prctl", controls.PR_SET_CHILD_SUBREAPER, 1)
            births.dismiss(self.context, helper.puppet.tid)
            self._call(helper.mother.puppet, helper.mother.who, "wait4", helper.pid, 0, WALL, 0)
            self._call(parent.puppet, parent.leader.identity, "prctl", controls.PR_SET_CHILD_SUBREAPER, 0)
            if proc.stat(helper.child.puppet.tid).ppid != parent.puppet.tid:
                sid = self.inherited[helper.child.vpid]
                raise CheckpointError(f"{helper.child} is in session {sid}, in which {parent} cannot have children")

    def _stand_in(self, sid: int) -> Mother:
        """A process with the pid of a dead session leader."""
        if sid not in self.helpers:
            stand_in = self._make_helper(sid, self.lineage.places[sid])
            self._call(stand_in.puppet, stand_in.who, "setsid")
        return self.helpers[sid]

    def _make_helper(self, pid: int, parent: RestoreTask) -> Mother:
        """A process with the pid of a dead leader, below `parent`."""
        pids, depth = pids_of(pid, self.context), len(parent.leader.pids)
        if len(pids) < depth:
            raise CheckpointError(
                f"{pid} leads others, but has ended, and was outside of the pid namespace of {parent}"
            )
        mother = Mother(parent.puppet, parent.leader.identity, parent)
        puppet, own = helpers.bear_helper(self.context, mother, pids=pids[:depth])
        self.helpers[pid] = Mother(puppet, Identity(own, own), parent)
        return self.helpers[pid]

    def group(self) -> None:
        """Process groups, when all are born and every session exists; then the helpers go."""
        outside = self._outer_group()
        followers = []
        for task in self.context.tasks:
            if task.entry.pgid == task.vpid and not leads_session(task):
                self._call(task.puppet, task.leader.identity, "setpgid", 0, 0)
            elif task.entry.pgid not in (task.vpid, outside):
                followers.append(task)
        leaders = {task.vpid for task in self.context.tasks}
        for task in followers:
            pgid = task.entry.pgid
            if pgid not in leaders and pgid not in self.helpers:
                helper = self._make_helper(pgid, task)
                self._call(helper.puppet, helper.who, "setpgid", 0, 0)
            self._follow(task, pgid)
        self._dismiss()

    def _follow(self, task: RestoreTask, pgid: int) -> None:
        """Join a group; one that is led outside of the task's pid namespace has been inherited, see `_bear`."""
        if number := pid_seen_by(task, pgid, self.context):
            self._call(task.puppet, task.leader.identity, "setpgid", 0, number)
            return
        leader = next((other for other in self.context.tasks if other.vpid == pgid), None)
        if leader is None or proc.stat(task.puppet.tid).pgid != leader.puppet.tid:
            raise CheckpointError(f"{task} is in process group {pgid} of an outer pid namespace, which it cannot join")

    def _follow_from_outside(self, parent: RestoreTask, child: RestoreTask) -> None:
        """The first ones in a pid namespace are put into a group of the outer one by their parent, who knows it.

        setpgid(2) allows that until the child has called exec.  Those born by them inherit it.
        """
        pgid, outside = child.entry.pgid, self._outer_group()
        if (
            len(child.leader.pids) == len(parent.leader.pids)
            or pgid == outside
            or pid_seen_by(child, pgid, self.context)
        ):
            return
        leader = next((other for other in self.context.tasks if other.vpid == pgid), None)
        if leader is not None and leader.leader.tracee is not None and not leads_session(leader):
            self._call(leader.puppet, leader.leader.identity, "setpgid", 0, 0)
        if number := pid_seen_by(parent, pgid, self.context):
            pid = child.leader.pids[len(parent.leader.pids) - 1]
            self._call(parent.puppet, parent.leader.identity, "setpgid", pid, number)

    def _outer_group(self) -> int:
        """The root's group where its leader is outside of the tree (a shell's job): that of the restore replaces it."""
        root = self.context.root.entry
        return -1 if root.pgid in {task.vpid for task in self.context.tasks} else root.pgid

    def _dismiss(self) -> None:
        for helper in self.helpers.values():
            births.dismiss(self.context, helper.puppet.tid)
            home = helper.home
            self._call(home.puppet, home.leader.identity, "wait4", helper.who.tid, 0, WALL, 0)
        self.helpers.clear()

    def _call(self, puppet: Tracee, who: Identity, name: str, *arguments: int) -> None:
        program = Program()
        program.call(name, *arguments)
        self.context.foothold.run(puppet, who, program)
