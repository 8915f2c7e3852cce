"""Puppets that are no tasks: they stand in for the dead, bear others, do something in a namespace, and end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from cr.contract.nesting import nesting
from cr.contract.restoring import RestoreContext
from cr.remote.foothold import Identity
from cr.remote.tracee import Tracee
from cr.restore import births
from cr.restore.births import Mother
from cr.restore.pids import numbers, place_of


def bear_helper(
    context: RestoreContext, mother: Mother, *, signo: int = 0, shared: int = 0, pids: tuple[int, ...] = ()
) -> tuple[Tracee, int]:
    """A puppet that is no task of the images, or becomes one later, and its pid as it knows it itself.

    Without `pids`, any will do that no task of the images needs.
    """
    _, space = place_of(mother.home, context)
    while True:
        wanted = numbers(pids or _spare(space, context), space, mother.user(context), context)
        try:
            helper = births.bear_here(context, mother, wanted, shared, signo)
        except births.PidTaken:
            if pids:
                raise
            continue
        context.helpers.append(helper.tid)
        return helper, wanted.pids[-1]


def _spare(space: int, context: RestoreContext) -> tuple[int, ...]:
    """One number for all levels."""
    known = [pid for task in context.tasks for thread in task.threads for pid in thread.pids]
    counter = context.once("spare pids", lambda: count(max(known, default=1) + 1))
    return (next(counter),) * len(nesting(context).pids_down(space))


@contextmanager
def once_more(context: RestoreContext, vpid: int) -> Iterator[tuple[Tracee, Identity] | None]:
    """Inside the block there is a process with the pid of one that is gone; None where somebody else has that pid."""
    root = context.root
    mother = Mother(root.puppet, root.leader.identity, root)
    try:
        helper, _ = bear_helper(context, mother, pids=(vpid,))
    except births.PidTaken:
        yield None
        return
    try:
        yield helper, Identity(vpid, vpid)
    finally:
        births.bury(context, mother, helper.tid, vpid)


@contextmanager
def passing_child(context: RestoreContext) -> Iterator[tuple[Tracee, Identity]]:
    """Inside the block there is a copy of the root puppet."""
    mother = Mother(context.root.puppet, context.root.leader.identity, context.root)
    helper, own = bear_helper(context, mother)
    try:
        yield helper, Identity(own, own)
    finally:
        births.bury(context, mother, helper.tid, own)
