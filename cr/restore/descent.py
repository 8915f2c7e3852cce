"""Births of tasks, in the pid namespace of their mother or in one below it.

A mother makes a pid namespace with its first task, where it is to belong to her own user namespace.  Into all others
she has her children born by a passing one, which goes where she could not come back from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cr.contract.nesting import nesting
from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import clone
from cr.remote.foothold import Identity
from cr.remote.program import Program
from cr.remote.tracee import Tracee
from cr.resources.namespaces.pid_namespace import descriptor
from cr.restore import births, helpers, user_namespaces
from cr.restore.births import Mother
from cr.restore.pids import FIRST, NOBODYS, ask_for, numbers, place_of
from cr.values import dataclass


def bear_child(context: RestoreContext, parent: RestoreTask, child: RestoreTask) -> None:
    """A child puppet: a copy of its parent as that is now, sharing with it what the task shared."""
    mother = Mother(parent.puppet, parent.leader.identity, parent)
    bear_task(context, mother, child, births.shared_flags(parent, child))
    child.born_with = parent.space


def bear_task(context: RestoreContext, mother: Mother, child: RestoreTask, shared: int = 0) -> None:
    """The puppet of a task, in its pid namespace; `shared` are the CLONE_* flags of what it has with its mother."""
    signo = births.exit_signal(child, context)
    (pids, space), user = place_of(child, context), mother.user(context)
    here = place_of(mother.home, context)[1]
    if space == here:
        child.leader.tracee = births.bear_here(context, mother, numbers(pids, space, user, context), shared, signo)
    elif space == NOBODYS:
        wanted = numbers(pids, space, user, context, above=here)
        child.leader.tracee = births.bear_here(context, mother, wanted, shared | clone.CLONE_NEWPID, signo)
    elif pids[-1] != FIRST:
        way = _Way(partial(_join_pids, space, context), user)
        child.leader.tracee = _bear_by_another(context, mother, child, way, shared)
    else:
        child.leader.tracee = _bear_first(context, mother, child, shared)
        context.has_made(child, "pid_ns_id", space)


def _bear_first(context: RestoreContext, mother: Mother, child: RestoreTask, shared: int) -> Tracee:
    """The first of a pid namespace, which belongs to the user namespace in which it is born."""
    pids, space = place_of(child, context)
    owner, user = nesting(context).owner(space), mother.user(context)
    if owner != user:
        go = partial(_go_down, owner, mother, child, context)
        return _bear_by_another(context, mother, child, _Way(go, owner, clone.CLONE_NEWPID), shared)
    wanted = numbers(pids, space, user, context)
    return births.bear_here(context, mother, wanted, shared | clone.CLONE_NEWPID, births.exit_signal(child, context))


def _go_down(
    owner: int, mother: Mother, child: RestoreTask, context: RestoreContext, helper: Tracee, who: Identity
) -> None:
    """Into a user namespace below the mother's."""
    here = mother.user(context)
    for user in nesting(context).users_down(here, owner):
        user_namespaces.join(user, here, (helper, who), child, context)
        here = user


def _join_pids(space: int, context: RestoreContext, helper: Tracee, who: Identity) -> None:
    program = Program()
    context.add_joins(program, [(descriptor(space, context), clone.CLONE_NEWPID)])
    context.foothold.run(helper, who, program)


@dataclass(frozen=True)
class _Way:
    """How a child comes into namespaces by another one than its mother."""

    go: Callable[[Tracee, Identity], None]
    user: int
    """the user namespace in which the birth happens then"""
    flags: int = 0


def _bear_by_another(context: RestoreContext, mother: Mother, child: RestoreTask, way: _Way, shared: int) -> Tracee:
    """By a passing child of the mother's that joins a namespace first: the mother herself could not come back."""
    signo = births.exit_signal(child, context)
    helper, own = helpers.bear_helper(context, mother, signo=signo, shared=shared)
    try:
        way.go(helper, Identity(own, own))
        pids, space = place_of(child, context)
        wanted = numbers(pids, space, way.user, context)
        program = Program()
        ask_for(program, wanted, way.flags | shared | clone.CLONE_PARENT, exit_signal=0)
        return births.bear(context, Mother(helper, Identity(own, own), mother.home), program, wanted, parent=mother)
    finally:
        births.bury(context, mother, helper.tid, own)
