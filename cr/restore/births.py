"""The tree of puppets: who is created by whom, with which pid, session and group."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import clone, proc
from cr.model import CheckpointError
from cr.remote.call_site import CallSite
from cr.remote.foothold import Foothold, Identity
from cr.remote.program import Program, ProgramError
from cr.remote.puppet import SEED_INSTRUCTION, adopt, spawn_seed
from cr.remote.tracee import WALL, Tracee
from cr.resources.tasks.limits import NAMES, parse_limits
from cr.resources.tasks.own_settings import restored_entry
from cr.resources.tasks.signal_actions import SIGNALS
from cr.restore.handover import Channel
from cr.restore.memory import SCRATCH_SIZE, scratch_address

PID_PATIENCE = 2.0  # seconds that the dead of an earlier dump get to vanish


def raise_soft_limits(program: Program) -> None:
    """The puppets may use all that their hard limits grant, until they get those of their tasks."""
    for number, (soft, hard) in enumerate(parse_limits(proc.read_text("self", "limits"))):
        if soft != hard:
            program.call("prlimit64", 0, number, program.words(hard, hard), 0, note=NAMES[number])


def forget_actions(program: Program) -> None:
    """No signal is ignored: what we inherited, the C library's own signals too, is none of the tasks' business."""
    default = program.data(bytes(32))
    for signo in SIGNALS:
        program.call("rt_sigaction", signo, default, 0, 8)


class PidTaken(CheckpointError):
    """A pid that a task of the images needs belongs to somebody else."""

    errno = errno.EEXIST


def sow(context: RestoreContext, channel: Channel) -> Tracee:
    """The seed, from which the root puppet is born; all scratch memory is a copy of its own."""
    birth = clone.fork_sibling if context.options.restore_sibling else None
    seed = spawn_seed(channel.theirs.fileno(), birth=birth)
    try:
        _furnish(context, seed, Identity(seed.tid, seed.tid))
    except BaseException:
        end(seed.tid)
        raise
    return seed


def _furnish(context: RestoreContext, puppet: Tracee, who: Identity) -> None:
    """Scratch memory, and nothing else that came from us: all other puppets are copies."""
    address = scratch_address(context)
    context.foothold = Foothold.make(puppet, CallSite(SEED_INSTRUCTION), address=address, size=SCRATCH_SIZE)
    program = Program()
    program.call("close_range", Channel.NUMBER + 1, 0x7FFFFFFF, 0, note="what our own parent left open")
    raise_soft_limits(program)
    forget_actions(program)
    context.foothold.run(puppet, who, program)


def bear_only_root(context: RestoreContext, channel: Channel, namespaces: int) -> None:
    """The root puppet, a child of our parent's, without a seed: a parent may take its first child for the tree's root,
    as LXC does, and a dead seed would be that until somebody reaps it."""
    root, deadline = context.root, time.monotonic() + PID_PATIENCE
    while root.leader.tracee is None:
        try:
            birth = partial(clone.fork_sibling, namespaces, root.vpid)
            root.leader.tracee = spawn_seed(channel.theirs.fileno(), birth=birth)
        except OSError as error:
            _be_patient(error, error.errno, root.vpid, deadline)
    _furnish(context, root.puppet, root.leader.identity)


def bear_root(context: RestoreContext, seed: Tracee, namespaces: int) -> None:
    """The root puppet, a child of ours, in new namespaces (CLONE_NEW* flags); the seed ends."""
    root = context.root
    program = Program()
    _clone3(program, root.vpid, clone.CLONE_PARENT | namespaces, exit_signal=0)
    root.leader.tracee = bear(context, seed, Identity(seed.tid, seed.tid), program, root.vpid)
    end(seed.tid)


def bear_child(context: RestoreContext, parent: RestoreTask, child: RestoreTask) -> None:
    """A child puppet: a copy of its parent as that is now, sharing with it what the task shared."""
    program = Program()
    _clone3(program, child.vpid, shared_flags(parent, child), exit_signal=exit_signal(child, context))
    child.leader.tracee = bear(context, parent.puppet, parent.leader.identity, program, child.vpid)
    child.born_with = parent.space


def bear_helper(context: RestoreContext, mother: Tracee, who: Identity, vpid: int, *, signo: int = 0) -> Tracee:
    """A puppet that is no task of the images, or becomes one later."""
    program = Program()
    _clone3(program, vpid, 0, exit_signal=signo)
    return bear(context, mother, who, program, vpid)


@contextmanager
def once_more(context: RestoreContext, vpid: int) -> Iterator[tuple[Tracee, Identity] | None]:
    """Inside the block there is a process with the pid of one that is gone; None where somebody else has that pid."""
    root = context.root
    try:
        helper = bear_helper(context, root.puppet, root.leader.identity, vpid)
    except PidTaken:
        yield None
        return
    context.helpers.append(helper.tid)
    try:
        yield helper, Identity(vpid, vpid)
    finally:
        end(helper.tid)
        context.helpers.remove(helper.tid)
    program = Program()
    program.call("wait4", vpid, 0, WALL, 0)
    context.run(root.leader, program)


def bear_threads(context: RestoreContext, task: RestoreTask) -> None:
    """The threads of a finished process besides its leader."""
    for thread in task.threads[1:]:
        program = Program()
        _clone3(program, thread.vtid, clone.THREAD_FLAGS, exit_signal=0, stack=1)
        thread.tracee = bear(context, task.puppet, task.leader.identity, program, thread.vtid)


_SHARED = {
    "vm_id": clone.CLONE_VM,
    "files_id": clone.CLONE_FILES,
    "fs_id": clone.CLONE_FS,
    "sighand_id": clone.CLONE_SIGHAND,
}


def shared_flags(parent: RestoreTask, child: RestoreTask) -> int:
    """CLONE_* flags for what a child shares with its parent."""
    if parent.ids is None or child.ids is None:
        return 0
    flags = 0
    for field, flag in _SHARED.items():
        if getattr(child.ids, field) and getattr(child.ids, field) == getattr(parent.ids, field):
            flags |= flag
    return flags


def owns(task: RestoreTask, field: str) -> bool:
    """Whether a task has that object (`vm_id`, `files_id`) of its own, not its parent's."""
    return task.parent is None or not shared_flags(task.parent, task) & _SHARED[field]


def exit_signal(task: RestoreTask, context: RestoreContext) -> int:
    """The signal that the parent gets when the task ends; the images of CRIU know only SIGCHLD."""
    entry = restored_entry(task.leader, context)
    return entry.exit_signal if entry is not None and entry.HasField("exit_signal") else signal.SIGCHLD


def _clone3(program: Program, vpid: int, flags: int, *, exit_signal: int, stack: int = 0) -> None:
    args = program.data(clone.clone_args(flags, exit_signal=exit_signal, stack=stack, set_tid=1, set_tid_size=1))
    program.link(args.at(64), program.words(vpid))
    program.call("clone3", args, args.size, note=f"pid {vpid}")


def bear(context: RestoreContext, mother: Tracee, who: Identity, program: Program, vpid: int) -> Tracee:
    """Run a program that creates one task, and hold what is born."""
    deadline = time.monotonic() + PID_PATIENCE
    while True:
        try:
            context.foothold.run(mother, who, program)
            return adopt(mother.born.pop())
        except ProgramError as error:
            _be_patient(error, error.errno, vpid, deadline)


def _be_patient(error: Exception, number: int | None, vpid: int, deadline: float) -> None:
    """Wait a little where the pid is held by the dead only; otherwise raise."""
    if number != errno.EEXIST:
        raise error
    if time.monotonic() > deadline or not _is_passing(vpid):
        raise PidTaken(
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
