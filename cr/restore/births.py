"""The tree of puppets: who is created by whom, with which pid, session and group."""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress
from functools import partial

from cr.contract.nesting import nesting
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
from cr.resources.tasks.pending_signals import forget_children_news
from cr.resources.tasks.signal_actions import SIGNALS
from cr.restore.handover import Channel
from cr.restore.memory import SCRATCH_SIZE, scratch_address
from cr.restore.pids import Numbers, ask_for, numbers, place_of
from cr.values import dataclass

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


@dataclass(frozen=True)
class Mother:
    """A puppet that is to create another; it has the namespaces of the task `home`."""

    puppet: Tracee
    who: Identity
    home: RestoreTask

    def user(self, context: RestoreContext) -> int:
        """Its user namespace."""
        return nesting(context).user_of(self.home)


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
    program, wanted = Program(), only(root.vpid, context)
    ask_for(program, wanted, clone.CLONE_PARENT | namespaces, exit_signal=0)
    root.leader.tracee = bear(context, Mother(seed, Identity(seed.tid, seed.tid), root), program, wanted)
    end(seed.tid)


def bear_here(context: RestoreContext, mother: Mother, wanted: Numbers, flags: int, signo: int) -> Tracee:
    program = Program()
    ask_for(program, wanted, flags, exit_signal=signo)
    return bear(context, mother, program, wanted)


def bury(context: RestoreContext, parent: Mother, tid: int, own: int) -> None:
    """End a helper, and let its parent wait for it; `own` is its pid there."""
    dismiss(context, tid)
    program = Program()
    program.call("wait4", own, 0, WALL, 0)
    forget_children_news(program)
    context.foothold.run(parent.puppet, parent.who, program)


def bear_threads(context: RestoreContext, task: RestoreTask) -> None:
    """The threads of a finished process besides its leader."""
    _, space = place_of(task, context)
    for thread in task.threads[1:]:
        wanted = numbers(thread.pids, space, nesting(context).user_of(task), context)
        program = Program()
        ask_for(program, wanted, clone.THREAD_FLAGS, exit_signal=0, stack=1)
        thread.tracee = bear(context, Mother(task.puppet, task.leader.identity, task), program, wanted, thread=True)


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


def only(vpid: int, context: RestoreContext) -> Numbers:
    """A pid of the root task's namespace, asked for with our own rights."""
    return Numbers((vpid,), (nesting(context).root_pid,), 1)


def bear(
    context: RestoreContext,
    mother: Mother,
    program: Program,
    wanted: Numbers,
    *,
    parent: Mother | None = None,
    thread: bool = False,
) -> Tracee:
    """Run a program that creates one task, and hold what is born.  `parent` waits for it, if not its mother does."""
    deadline = time.monotonic() + PID_PATIENCE
    while True:
        try:
            wanted.foretell(context)
            context.foothold.run(mother.puppet, mother.who, program)
            born = adopt(mother.puppet.born.pop())
        except ProgramError as error:
            _be_patient(error, error.errno, wanted.pids[0] if wanted.pids else 0, deadline)
            continue
        if wanted.chosen == len(wanted.pids) or wanted.came_true(born.tid):
            return born
        got = proc.ns_ids(proc.status(born.tid), "NSpid")
        _end_thread(context, born, got[-1], mother) if thread else bury(context, parent or mother, born.tid, got[-1])
        if time.monotonic() > deadline or not _is_passing(wanted.pids[0]):
            raise PidTaken(f"pid {wanted} cannot be had, the kernel gave {got[0]}: is it taken by another process?")


def _end_thread(context: RestoreContext, thread: Tracee, own: int, mother: Mother) -> None:
    program = Program()
    program.call("exit", 0)
    context.foothold.start(thread, Identity(mother.who.tgid, own), program)
    while os.WIFSTOPPED(os.waitpid(thread.tid, WALL)[1]):
        thread.resume()


def _be_patient(error: Exception, number: int | None, vpid: int, deadline: float) -> None:
    """Wait a little where the pid is held by the dead only; otherwise raise."""
    if number != errno.EEXIST:
        raise error
    if time.monotonic() > deadline or not _is_passing(vpid):
        raise PidTaken(f"{_holder(vpid)}: end it, or restore into a new pid namespace") from error
    time.sleep(0.002)


def _holder(pid: int) -> str:
    """Who has a pid; one whose process is gone may still be that of a session or process group."""
    if not _is_passing(pid):
        return f"pid {pid} is taken by another process"
    for other in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):
            stat = proc.stat(other)
            if pid in (stat.sid, stat.pgid):
                kind = "session" if pid == stat.sid else "process group"
                return f"pid {pid} is taken: it is the {kind} of another process, task {other} ({stat.comm})"
    return f"pid {pid} is taken by another process"


def _is_passing(pid: int) -> bool:
    """Whether a pid is only held by the dead: a zombie about to be reaped, a session about to end."""
    try:
        return proc.stat(pid).state in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def dismiss(context: RestoreContext, tid: int) -> None:
    """End a helper."""
    end(tid)
    if tid in context.helpers:
        context.helpers.remove(tid)


def end_all(tids: list[int]) -> None:
    """Kill puppets and wait until all are gone: the first of a pid namespace ends after all others in it are reaped."""
    for tid in tids:
        with suppress(ProcessLookupError):
            os.kill(tid, signal.SIGKILL)
    while tids := [tid for tid in tids if not _is_reaped(tid)]:
        time.sleep(0.0002)


def _is_reaped(tid: int) -> bool:
    try:
        found, status = os.waitpid(tid, WALL | os.WNOHANG)
    except ChildProcessError:
        return True
    return bool(found) and not os.WIFSTOPPED(status)


def end(tid: int) -> None:
    """Kill a puppet and wait until it is gone."""
    try:
        os.kill(tid, signal.SIGKILL)
        os.waitpid(tid, WALL)
    except (ProcessLookupError, ChildProcessError):
        return
