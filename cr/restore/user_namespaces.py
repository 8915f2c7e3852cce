"""How puppets come into user namespaces below the root task's, and with which ids."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from cr import log
from cr.contract import idmaps
from cr.contract.idmaps import OVERFLOW_ID
from cr.contract.nesting import nesting
from cr.kernel import controls, proc
from cr.kernel.capabilities import has
from cr.kernel.namespaces import CLONE_NEWUSER
from cr.remote.program import Program
from cr.resources.namespaces.nested_users import descriptor
from cr.resources.tasks.own_settings import restored_entry

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.remote.foothold import Identity
    from cr.remote.tracee import Tracee

_KEEP = -1


def take_groups(program: Program, context: RestoreContext) -> None:
    """Those that the tree could not take on in its user namespace."""
    groups = nesting(context).outer_groups()
    if groups is not None:
        program.call("setgroups", len(groups), program.data(struct.pack(f"<{len(groups)}I", *groups)))


def become_maker(program: Program, context: RestoreContext) -> None:
    """The seed's effective uid will own the root task's user namespace: that of who made it then, who has rights in it.

    Our own rights, which the births need, stay with it.
    """
    maker = nesting(context).maker()
    if maker is None or maker == os.geteuid():
        return
    known = idmaps.parse(proc.read_text("self", "uid_map"))
    if not (has("CAP_SETUID") and has("CAP_SETPCAP") and known.knows(maker)):
        log.warning(
            f"the user namespace of the tree was made by uid {maker}, whom we may not stand for: it will be ours, "
            "and that user has no rights in it"
        )
        return
    program.call("prctl", controls.PR_SET_SECUREBITS, controls.SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    program.call("setresuid", _KEEP, maker, _KEEP)
    program.call("prctl", controls.PR_SET_DUMPABLE, 1, 0, 0, 0)


def join(user: int, here: int, puppet: tuple[Tracee, Identity], task: RestoreTask, context: RestoreContext) -> None:
    """Take a puppet from the user namespace `here` to one right below it, with the ids that `task` has further out.

    Ids that have no number in there can only be taken on before.  What it may do, it may do in there afterwards.
    """
    program = Program()
    context.add_joins(program, [(descriptor(user, context), CLONE_NEWUSER)])
    joins, program = program, Program()
    _add_outer_ids(program, here, task, context)
    if program.calls:
        context.foothold.run(*puppet, program)
    context.foothold.run(*puppet, joins)


def _add_outer_ids(program: Program, here: int, task: RestoreTask, context: RestoreContext) -> None:
    entry = restored_entry(task.leader, context)
    if entry is None or not entry.HasField("outer"):
        return
    known, outer = nesting(context), entry.outer
    uids, gids, groups = (
        [known.from_root(number, here, name) for number in numbers]
        for numbers, name in ((outer.uid, "uid_map"), (outer.gid, "gid_map"), (outer.group, "gid_map"))
    )
    program.call("prctl", controls.PR_SET_SECUREBITS, controls.SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    words = program.data(struct.pack(f"<{len(groups)}I", *groups))
    program.call("setgroups", len(groups), words, may_fail=True, note="some user namespaces do not let groups be set")
    for name, ids in (("setresgid", gids), ("setresuid", uids)):
        program.call(name, *(_KEEP if number == OVERFLOW_ID else number for number in ids[:3]))
    program.call("setfsgid", gids[3])
    program.call("setfsuid", uids[3])
