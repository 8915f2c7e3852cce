"""Calls by which a process is remembered are made in that very process: its pid and its effective ids count.

A process that is gone by now is made once more for the purpose, if its pid is free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cr.remote.program import Program, ProgramError, Result
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from cr.remote.foothold import Identity
    from cr.remote.tracee import Tracee

_KEEP = -1


@dataclass(frozen=True)
class Actor:
    """Who did something: pid and effective ids as the root task sees them."""

    pid: int
    uid: int
    gid: int


@dataclass
class Act:
    """What to do: `fill` adds calls to a program, given the numbers of `descriptors` in the process, and gives the
    one that matters.  `fetch` takes what that has made; its descriptors in the process are closed then."""

    descriptors: list[int]
    fill: Callable[[Program, list[int]], Result]
    fetch: Callable[[Tracee], list[int]] | None = None


def act(actor: Actor, what: Act, context: RestoreContext) -> bool:
    """Do it as this actor; whether that worked.  To be called before any descriptor is placed."""
    task = next((task for task in context.tasks if task.vpid == actor.pid), None)
    if task is not None:
        return not task.is_zombie and _act(task.puppet, task.leader.identity, actor, what, context)
    with context.process_once_more(actor.pid) as found:
        return found is not None and _act(*found, actor, what, context)


def _act(puppet: Tracee, who: Identity, actor: Actor, what: Act, context: RestoreContext) -> bool:
    program = Program()
    slots = context.give(program, what.descriptors) if what.descriptors else []
    _take_ids(program, actor.uid, actor.gid)
    wanted = what.fill(program, slots)
    _take_ids(program, 0, 0)
    for slot in slots:
        program.call("close", slot)
    try:
        context.foothold.run(puppet, who, program)
    except ProgramError:
        if program.results[wanted.index] >= 0:
            raise
    if wanted.value < 0:
        return False
    if what.fetch is not None:
        rest = Program()
        for slot in what.fetch(puppet):
            rest.call("close", slot)
        context.foothold.run(puppet, who, rest)
    return True


def _take_ids(program: Program, uid: int, gid: int) -> None:
    """Effective ids only, so that the way back is open; the group first, while that is still allowed."""
    first, second = ("setresgid", gid), ("setresuid", uid)
    for name, number in (first, second) if uid else (second, first):
        program.call(name, _KEEP, number, _KEEP, may_fail=True)
