"""Processes that exist only during a restore, in place of dead ones that something still refers to."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from cr.kernel.clone import clone_args, fork_as
from cr.kernel.prctl import set_parent_death_signal
from cr.model import CheckpointError
from cr.remote.program import Program, ProgramError
from cr.remote.puppet import adopt
from cr.remote.tracee import WALL

if TYPE_CHECKING:
    from typing import NoReturn

    from cr.contract.restoring import RestoreContext


def stand_in(pid: int, context: RestoreContext) -> int:
    """Make sure there is a process `pid` in the pid namespace of the root task until the restore is complete.

    Our own pid of it.  It is a child of ours where that is our own pid namespace too.  Otherwise it is one of the root
    task, and reaped by it before that runs.
    """
    return context.once(("stand-in", pid), lambda: _bear_here(pid, context) or _bear(pid, context))


def _bear_here(pid: int, context: RestoreContext) -> int:
    """A child of ours that does nothing; 0 where it is not for us to give pids."""
    theirs = f"/proc/{context.root.leader.puppet.tid}/ns/pid"
    if os.stat("/proc/self/ns/pid").st_ino != os.stat(theirs).st_ino:
        return 0
    try:
        child = fork_as(pid)
    except OSError as error:
        raise _not_to_be_had(pid, error) from error
    if not child:
        _wait_for_the_end()
    context.helpers.append(child)
    context.at_end.append(lambda: _kill(child))
    return child


def _wait_for_the_end() -> NoReturn:
    """All that our copy does: whatever reaches it, it is not to go on as us."""
    try:
        set_parent_death_signal(signal.SIGKILL)
        while True:
            signal.pause()
    finally:
        os._exit(0)


def _not_to_be_had(pid: int, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"pid {pid} of a dead process, which a task refers to, cannot be had ({os.strerror(error.errno or 0)}): "
        "restore into a new pid namespace"
    )


def _bear(pid: int, context: RestoreContext) -> int:
    leader = context.root.leader
    program = Program()
    args = program.data(clone_args(0, exit_signal=0, set_tid=1, set_tid_size=1))
    program.link(args.at(64), program.words(pid))
    program.call("clone3", args, args.size, note=f"pid {pid}, for the time being")
    try:
        context.run(leader, program)
    except ProgramError as error:
        raise _not_to_be_had(pid, error) from error
    tid = adopt(leader.puppet.born.pop()).tid
    context.helpers.append(tid)
    context.at_end.append(lambda: _dismiss(pid, tid, context))
    return tid


def _kill(tid: int) -> None:
    """End it, as its tracer or parent."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(tid, signal.SIGKILL)
        os.waitpid(tid, WALL)


def _dismiss(pid: int, tid: int, context: RestoreContext) -> None:
    _kill(tid)
    program = Program()
    program.call("wait4", pid, 0, WALL, 0)
    context.run(context.root.leader, program)
