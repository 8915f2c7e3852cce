"""The tree of puppets: who is created by whom, with which pid, session and group."""

from __future__ import annotations

import errno
import os
import signal
import time

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import clone, proc
from cr.model import CheckpointError
from cr.remote.foothold import Foothold, Identity
from cr.remote.program import Program, ProgramError
from cr.remote.puppet import SEED_INSTRUCTION, adopt, spawn_seed
from cr.remote.tracee import WALL, Tracee
from cr.restore.handover import Channel
from cr.restore.memory import SCRATCH_SIZE, scratch_address

PID_PATIENCE = 2.0  # seconds that the dead of an earlier dump get to vanish


def sow(context: RestoreContext, channel: Channel) -> Tracee:
    """The seed, from which the root puppet is born; all scratch memory is a copy of its own."""
    seed = spawn_seed(channel.theirs.fileno())
    try:
        address = scratch_address(context)
        context.foothold = Foothold.make(seed, SEED_INSTRUCTION, address=address, size=SCRATCH_SIZE)
        program = Program()
        program.call("close_range", Channel.NUMBER + 1, 0x7FFFFFFF, 0, note="what our own parent left open")
        context.foothold.run(seed, Identity(seed.tid, seed.tid), program)
    except BaseException:
        end(seed.tid)
        raise
    return seed


def bear_root(context: RestoreContext, seed: Tracee, namespaces: int) -> None:
    """The root puppet, a child of ours, in new namespaces (CLONE_NEW* flags); the seed ends."""
    root = context.root
    program = Program()
    _clone3(program, root.vpid, clone.CLONE_PARENT | namespaces, exit_signal=0)
    root.leader.tracee = _bear(context, seed, Identity(seed.tid, seed.tid), program, root.vpid)
    end(seed.tid)


def bear_child(context: RestoreContext, parent: RestoreTask, child: RestoreTask) -> None:
    """A child puppet: a copy of its parent as that is now, sharing with it what the tasks share."""
    program = Program()
    flags = clone.CLONE_FILES if shares_descriptors(child) else 0
    _clone3(program, child.vpid, flags, exit_signal=signal.SIGCHLD)
    child.leader.tracee = _bear(context, parent.puppet, parent.leader.identity, program, child.vpid)


def shares_descriptors(task: RestoreTask) -> bool:
    """Whether a task has one descriptor table with its parent (CLONE_FILES)."""
    ours, parents = task.ids, task.parent.ids if task.parent else None
    return ours is not None and parents is not None and ours.files_id == parents.files_id


def bear_threads(context: RestoreContext, task: RestoreTask) -> None:
    """The threads of a finished process besides its leader."""
    for thread in task.threads[1:]:
        program = Program()
        _clone3(program, thread.vtid, clone.THREAD_FLAGS, exit_signal=0, stack=1)
        thread.tracee = _bear(context, task.puppet, task.leader.identity, program, thread.vtid)


def _clone3(program: Program, vpid: int, flags: int, *, exit_signal: int, stack: int = 0) -> None:
    args = program.data(clone.clone_args(flags, exit_signal=exit_signal, stack=stack, set_tid=1, set_tid_size=1))
    program.link(args.at(64), program.words(vpid))
    program.call("clone3", args, args.size, note=f"pid {vpid}")


def _bear(context: RestoreContext, mother: Tracee, who: Identity, program: Program, vpid: int) -> Tracee:
    deadline = time.monotonic() + PID_PATIENCE
    while True:
        try:
            context.foothold.run(mother, who, program)
            return adopt(mother.born.pop())
        except ProgramError as error:
            if error.errno != errno.EEXIST:
                raise
            if time.monotonic() > deadline or not _is_passing(vpid):
                raise CheckpointError(
                    f"pid {vpid} is taken by another process: end it, or restore into a new pid namespace"
                ) from error
            time.sleep(0.002)


def _is_passing(pid: int) -> bool:
    """Whether a pid is only held by the dead: a zombie about to be reaped, a session about to end."""
    try:
        return proc.stat(pid).state in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def end(tid: int) -> None:
    """Kill a puppet and wait until it is gone."""
    try:
        os.kill(tid, signal.SIGKILL)
        os.waitpid(tid, WALL)
    except (ProcessLookupError, ChildProcessError):
        return
