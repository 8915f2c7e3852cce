"""Which pids a task to be gets in the pid namespaces that it is in, and who chooses them.

clone3(2) takes one pid for each level from the innermost outwards, as far as who calls it has rights in the user
namespaces that own them (CAP_CHECKPOINT_RESTORE).  The rest is foretold: each namespace gives the number after
the one in /proc/sys/kernel/ns_last_pid, which a process of ours sets from inside right before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.nesting import nesting
from cr.kernel import clone, proc
from cr.kernel.namespaces import CLONE_NEWPID
from cr.kernel.visits import ask
from cr.model import BadImages
from cr.resources.namespaces.pid_namespace import descriptor
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.remote.program import Program

FIRST = 1
"""the pid of the first task of a namespace"""
NOBODYS = -1
"""stands for the pid namespace of a zombie that was the first in it: it ended with that"""
LAST_PID = "/proc/sys/kernel/ns_last_pid"


@dataclass(frozen=True)
class Numbers:
    """`pids`, the root task's level first, in `spaces` (ids of pid namespaces); clone3 is told the last `chosen`."""

    pids: tuple[int, ...]
    spaces: tuple[int, ...]
    chosen: int

    def foretell(self, context: RestoreContext) -> None:
        """The innermost first: a process that goes there takes a number at every level above."""
        for pid, space in reversed(list(zip(self.pids, self.spaces, strict=True))[: len(self.pids) - self.chosen]):
            _set_last(space, pid - 1, context)

    def came_true(self, tid: int) -> bool:
        """Whether the new task `tid` (as we count) has all of them."""
        return tuple(proc.ns_ids(proc.status(tid), "NSpid")[-len(self.pids) :]) == self.pids

    def __str__(self) -> str:
        return " / ".join(map(str, self.pids))


def numbers(
    pids: tuple[int, ...], space: int, user: int, context: RestoreContext, *, above: int | None = None
) -> Numbers:
    """For a task in pid namespace `space` that is created by one in the user namespace `user`.

    `above` is the parent of a namespace that the images do not tell of.
    """
    spaces = nesting(context).pids_down(space if above is None else above)
    if above is not None:
        spaces.append(space)
    if len(spaces) != len(pids):
        raise BadImages(
            f"woodfrog-pids.img has {len(pids)} numbers for pid {pids[0]}, which is in {len(spaces)} namespaces"
        )
    chosen = sum(1 for each in spaces if _has_rights(user, each, context))
    return Numbers(pids, tuple(spaces), chosen)


def place_of(task: RestoreTask, context: RestoreContext) -> tuple[tuple[int, ...], int]:
    """The pids of a task, the root task's level first, and the pid namespace that it is in.

    Images do not tell where a zombie was; what it was called in a namespace below its parent's, nobody can ask.
    """
    if not task.is_zombie or task.parent is None:
        return task.leader.pids, task.ids.pid_ns_id if task.ids is not None else nesting(context).root_pid
    above, space = place_of(task.parent, context)
    if len(task.leader.pids) == len(above) + 1 and task.leader.pids[-1] == FIRST:
        return task.leader.pids, NOBODYS
    return task.leader.pids[: len(above)], space


def _has_rights(user: int, space: int, context: RestoreContext) -> bool:
    """Owners of inner pid namespaces are the same or further in, never further out."""
    known = nesting(context)
    if space == NOBODYS:
        return True
    if space == known.root_pid and is_outer(context):
        return False
    return known.is_within(known.owner(space), user)


def is_outer(context: RestoreContext) -> bool:
    """Whether the root task's pid namespace is not its own, but its user namespace is: it has no rights there."""
    from cr.restore.namespaces import own_namespaces

    kinds = {resource.name for resource, _ in own_namespaces(context)}
    return "user" in kinds and "pid" not in kinds


def ask_for(program: Program, wanted: Numbers, flags: int, *, exit_signal: int, stack: int = 0) -> None:
    """The call of clone3(2)."""
    chosen = wanted.pids[len(wanted.pids) - wanted.chosen :]
    size = {"set_tid": 1, "set_tid_size": len(chosen)} if chosen else {}
    args = program.data(clone.clone_args(flags, exit_signal=exit_signal, stack=stack, **size))
    if chosen:
        import struct

        program.link(args.at(64), program.data(struct.pack(f"<{len(chosen)}i", *reversed(chosen))))
    program.call("clone3", args, args.size, note=f"pid {wanted}")


def _set_last(space: int, number: int, context: RestoreContext) -> None:
    fd = descriptor(space, context)
    if os.fstat(fd).st_ino == proc.namespace_inode("self", "pid"):
        proc.write_file(LAST_PID, str(number))
        return

    def write() -> bytes:
        proc.write_file(LAST_PID, str(number))
        return b""

    ask([(fd, CLONE_NEWPID)], write)
