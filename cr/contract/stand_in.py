"""Processes that exist only during a restore, in place of dead ones that something still refers to."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from cr.kernel.clone import clone_args
from cr.model import CheckpointError
from cr.remote.program import Program, ProgramError
from cr.remote.puppet import adopt
from cr.remote.tracee import WALL

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext


def stand_in(pid: int, context: RestoreContext) -> int:
    """Make sure there is a process `pid` in the pid namespace of the root task until the restore is complete.

    Our own pid of it.  It is a child of the root task, and reaped by it before that runs.
    """
    return context.once(("stand-in", pid), lambda: _bear(pid, context))


def _bear(pid: int, context: RestoreContext) -> int:
    leader = context.root.leader
    program = Program()
    args = program.data(clone_args(0, exit_signal=0, set_tid=1, set_tid_size=1))
    program.link(args.at(64), program.words(pid))
    program.call("clone3", args, args.size, note=f"pid {pid}, for the time being")
    try:
        context.run(leader, program)
    except ProgramError as error:
        raise CheckpointError(
            f"pid {pid} of a dead process, which a task refers to, cannot be had ({os.strerror(error.errno or 0)}): "
            "restore into a new pid namespace"
        ) from error
    tid = adopt(leader.puppet.born.pop()).tid
    context.helpers.append(tid)
    context.at_end.append(lambda: _dismiss(pid, tid, context))
    return tid


def _kill(tid: int) -> None:
    """End it, as its tracer."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(tid, signal.SIGKILL)
        os.waitpid(tid, WALL)


def _dismiss(pid: int, tid: int, context: RestoreContext) -> None:
    _kill(tid)
    program = Program()
    program.call("wait4", pid, 0, WALL, 0)
    context.run(context.root.leader, program)
