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
from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import controls, proc
from cr.model import CheckpointError
from cr.remote.foothold import Identity
from cr.remote.program import Program
from cr.remote.tracee import Tracee
from cr.restore import births, namespaces
from cr.restore.inheritance import strangers
from cr.values import dataclass

WALL = 0x40000000


@dataclass(frozen=True)
class _Passing:
    """A helper that stands between a child and its parent until all are born; `mother` waits for its end."""

    puppet: Tracee
    pid: int
    mother: Tracee
    who: Identity
    child: RestoreTask


class Family:
    """Bears the puppets of a tree, each with its session and group."""

    def __init__(self, context: RestoreContext) -> None:
        self.context = context
        self.inherited: dict[int, int] = {}
        """vpid -> session at birth, by its number in the images"""
        self.orphans: list[RestoreTask] = []
        self.helpers: dict[int, tuple[Tracee, RestoreTask]] = {}
        """pid -> (puppet that stands in for a dead leader, its parent)"""
        self.passing: list[_Passing] = []
        self.lineage = Lineage(context.tasks)
        self._spare = max((thread.vtid for task in context.tasks for thread in task.threads), default=1)

    def grow(self) -> Iterator[RestoreTask]:
        """Tasks as they come into being, parents first; whoever asks builds their memory before asking on.

        Children that share no memory with a task are born before it has any, which is cheaper: the others
        are copies of it.
        """
        root = self.context.root
        self.inherited[root.vpid] = 0 if leads_session(root) else root.entry.sid
        queue = [root]
        while queue:
            task = queue.pop(0)
            steps = self._steps(task)
            before = list(takewhile(lambda step: step is None or strangers(task, step), steps))  # noqa: B023
            self._take(task, before)
            yield task
            self._take(task, steps[len(before) :])
            queue += [child for child in steps if child is not None]
            if not queue:
                queue += self._adopt_orphans()
        self._let_fall()

    def _steps(self, task: RestoreTask) -> list[RestoreTask | None]:
        """The children in the order of their births; None stands for setsid(2) of the task itself."""
        former, born = self.inherited[task.vpid], self.lineage.born
        early = [child for child in task.children if born.get(child.vpid, task.entry.sid) == former]
        late = [child for child in task.children if born.get(child.vpid, task.entry.sid) == task.entry.sid]
        late = [child for child in late if child not in early]
        self.orphans += [child for child in task.children if child not in early + late]
        for children in (early, late):
            children.sort(key=lambda child: not strangers(task, child))
        return [*early, *([None] if leads_session(task) else []), *late]

    def _take(self, task: RestoreTask, steps: list[RestoreTask | None]) -> None:
        former = self.inherited[task.vpid]
        for child in steps:
            if child is None:
                self._call(task.puppet, task.leader.identity, "setsid")
            else:
                early = self.lineage.born.get(child.vpid, task.entry.sid) == former
                self._bear(task, child, former if early else task.entry.sid)

    def _bear(self, parent: RestoreTask, child: RestoreTask, session: int) -> None:
        births.bear_child(self.context, parent, child)
        namespaces.enter(self.context, child)
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
        if leader is not None:
            mother, who = leader.puppet, leader.leader.identity
        else:
            mother, who = self._stand_in(sid), Identity(sid, sid)
        pid, passing = self._helper(mother, who)
        signo = births.exit_signal(child, self.context)
        child.leader.tracee = births.bear_helper(self.context, passing, Identity(pid, pid), child.vpid, signo=signo)
        child.born_with = (leader or parent).space
        namespaces.enter(self.context, child)
        self.passing.append(_Passing(passing, pid, mother, who, child))
        self.inherited[child.vpid] = sid

    def _let_fall(self) -> None:
        """The passing helpers end, the last one first; their children fall to their parents."""
        while self.passing:
            helper = self.passing.pop()
            parent = helper.child.parent
            assert parent is not None
            self._call(parent.puppet, parent.leader.identity, "prctl", controls.PR_SET_CHILD_SUBREAPER, 1)
            births.end(helper.puppet.tid)
            self._call(helper.mother, helper.who, "wait4", helper.pid, 0, WALL, 0)
            self._call(parent.puppet, parent.leader.identity, "prctl", controls.PR_SET_CHILD_SUBREAPER, 0)
            if proc.stat(helper.child.puppet.tid).ppid != parent.puppet.tid:
                sid = self.inherited[helper.child.vpid]
                raise CheckpointError(f"{helper.child} is in session {sid}, in which {parent} cannot have children")

    def _stand_in(self, sid: int) -> Tracee:
        """A process with the pid of a dead session leader."""
        if sid not in self.helpers:
            parent = self.lineage.places[sid]
            puppet = births.bear_helper(self.context, parent.puppet, parent.leader.identity, sid)
            self.helpers[sid] = puppet, parent
            self._call(puppet, Identity(sid, sid), "setsid")
        return self.helpers[sid][0]

    def _helper(self, mother: Tracee, who: Identity) -> tuple[int, Tracee]:
        """A passing helper, with a pid that no task of the tree needs."""
        while True:
            self._spare += 1
            try:
                return self._spare, births.bear_helper(self.context, mother, who, self._spare)
            except births.PidTaken:
                continue

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
            if task.entry.pgid not in leaders and task.entry.pgid not in self.helpers:
                pgid = task.entry.pgid
                puppet = births.bear_helper(self.context, task.puppet, task.leader.identity, pgid)
                self.helpers[pgid] = puppet, task
                self._call(puppet, Identity(pgid, pgid), "setpgid", 0, 0)
            self._call(task.puppet, task.leader.identity, "setpgid", 0, task.entry.pgid)
        self._dismiss()

    def _outer_group(self) -> int:
        """The root's group where its leader is outside of the tree (a shell's job): that of the restore replaces it."""
        root = self.context.root.entry
        return -1 if root.pgid in {task.vpid for task in self.context.tasks} else root.pgid

    def _dismiss(self) -> None:
        for pid, (puppet, parent) in self.helpers.items():
            births.end(puppet.tid)
            self._call(parent.puppet, parent.leader.identity, "wait4", pid, 0, WALL, 0)
        self.helpers.clear()

    def abandon(self) -> None:
        """End the helpers of a restore that failed."""
        for helper in self.passing:
            births.end(helper.puppet.tid)
        for puppet, _ in self.helpers.values():
            births.end(puppet.tid)

    def _call(self, puppet: Tracee, who: Identity, name: str, *arguments: int) -> None:
        program = Program()
        program.call(name, *arguments)
        self.context.foothold.run(puppet, who, program)
