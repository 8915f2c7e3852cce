"""Tasks that are to be zombies die again, of what they had died of; stopped tasks stop again."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from cr.contract.nesting import pid_seen_by
from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import proc, ptrace
from cr.kernel.controls import PR_SET_NAME
from cr.kernel.numbers import NUMBERS
from cr.model import CheckpointError
from cr.remote.program import Program
from cr.remote.tracee import WALL
from cr.resources.tasks.own_settings import restored_entry
from cr.resources.tasks.pending_signals import forget_children_news
from cr.restore.vdso import instruction

_RLIMIT_CORE = 4
_WNOHANG, _WSTOPPED = 1, 2
_P_PID = 1
_PATIENCE = 5.0


def die(task: RestoreTask, context: RestoreContext) -> None:
    """End a puppet with the wait status of its image; its parent finds a zombie."""
    status = task.core.tc.exit_code
    _take_name(task, context)
    if os.WIFSIGNALED(status):
        _die_of(task, os.WTERMSIG(status), context)
        return
    program = Program()
    program.call("exit_group", os.WEXITSTATUS(status))
    puppet = task.puppet
    context.foothold.start(puppet, task.leader.identity, program)
    _bury(puppet.tid)


def _take_name(task: RestoreTask, context: RestoreContext) -> None:
    """A zombie is listed by its name."""
    program = Program()
    program.call("prctl", PR_SET_NAME, program.cstr(task.core.tc.comm), 0, 0, 0)
    context.run(task.leader, program)


def _die_of(task: RestoreTask, signo: int, context: RestoreContext) -> None:
    """By a signal; without a core dump, which its first death may have left."""
    program = Program()
    program.call("prlimit64", 0, _RLIMIT_CORE, program.words(0, 0), 0)
    context.run(task.leader, program)
    tid = task.puppet.tid
    ptrace.set_sigmask(tid, 0)
    os.kill(tid, signo)
    if signo != signal.SIGKILL:
        ptrace.ptrace(ptrace.CONT, tid)
    _bury(tid)


def _bury(tid: int) -> None:
    """Wait for the end of a puppet; signals on the way are delivered."""
    while True:
        _, status = os.waitpid(tid, WALL)
        if not os.WIFSTOPPED(status):
            return
        ptrace.ptrace(ptrace.CONT, tid, 0, os.WSTOPSIG(status) if not status >> 16 else 0)


def exit_main_thread(task: RestoreTask, context: RestoreContext) -> None:
    """Where the main thread had exited while others live on: the first it does when it runs is exit(2)."""
    entry = restored_entry(task.leader, context)
    if entry is None or not entry.HasField("exited"):
        return
    registers = task.puppet.registers
    registers.rip = instruction(task)
    registers.rax, registers.rdi = NUMBERS["exit"], os.WEXITSTATUS(entry.exited)
    registers.orig_rax = (1 << 64) - 1
    task.puppet.sigmask = (1 << 64) - 1


def stop_again(task: RestoreTask, context: RestoreContext) -> None:
    """Let a finished task go into its job-control stop, while its parent is still held.

    The kernel no longer ends it when we are killed: the janitor does.
    """
    action = _action(task, task.stop_signal)
    blocked = task.core.tc.blk_sigset >> (task.stop_signal - 1) & 1
    signo = task.stop_signal if not action and not blocked else signal.SIGSTOP
    pid = task.puppet.tid
    context.undo.append(partial(_end_if_left, pid, proc.stat(pid).start_time))
    os.kill(pid, signo)
    for thread in task.threads:
        thread.puppet.detach()
    deadline = time.monotonic() + _PATIENCE
    while proc.stat(pid).state != "T":
        if time.monotonic() > deadline:
            raise CheckpointError(f"{task} does not stop again (it is in state {proc.stat(pid).state})")
        time.sleep(0.0005)


def _end_if_left(pid: int, start_time: int) -> None:
    """What has stopped again; not another task with its pid, which the next attempt may have made already."""
    if proc.stat(pid).start_time == start_time and proc.status(pid)["TracerPid"] == "0":
        os.kill(pid, signal.SIGKILL)


def _action(task: RestoreTask, signo: int) -> int:
    from cr.resources.tasks.signal_actions import SIGNALS

    if signo not in SIGNALS or not task.core.tc.sigactions:
        return 0
    return int(task.core.tc.sigactions[SIGNALS.index(signo)].sigaction)


def settle_news(task: RestoreTask, context: RestoreContext) -> None:
    """The parent of tasks that stopped again knows of it what it knew before: a signal, a wait status, or nothing."""
    stopped = [child for child in task.children if child.stop_signal]
    if not stopped:
        return
    program = Program()
    queue = task.core.tc.signals_s.signals
    if not any(int.from_bytes(item.siginfo[:4], "little") == signal.SIGCHLD for item in queue):
        forget_children_news(program)
    for child in stopped:
        entry = restored_entry(child.leader, context)
        if entry is not None and entry.stop_was_reported:
            program.call("waitid", _P_PID, pid_seen_by(task, child.vpid, context), 0, _WSTOPPED | _WNOHANG, 0)
    context.run(task.leader, program)
