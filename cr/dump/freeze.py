"""Freeze a process tree at one moment, and let it go again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from cr.contract.dumping import DumpTask, DumpThread
from cr.dump import user_faults, vfork
from cr.dump.context import lead_out
from cr.dump.seizing import WaitsInVfork, answer_by_another, leave_vdso, listed, seize, why_no_stop
from cr.kernel import proc, ptrace
from cr.model import CheckpointError
from cr.remote.critical import critical
from cr.remote.janitor import Undo
from cr.remote.letting_go import let_go
from cr.remote.tracee import TaskGone, Tracee
from cr.values import dataclass, field

_WALL = 0x40000000
_WAIT = (
    "inside of the kernel, as it seems for whoever handles its page faults (userfaultfd(2)) to bring a page or to read "
    "an event: try again later"
)
_AT_ONCE = 0.005  # seconds in which a thread stops that waits for nobody
_SHORTLY = 0.1  # seconds in which nearly every thread stops


def _reaped(tid: int) -> bool:
    """Whether the killed tracee has ended; nobody sees its zombie then."""
    try:
        return os.waitpid(tid, _WALL | os.WNOHANG)[0] == tid
    except ChildProcessError:
        return True


class WaitsForPage(CheckpointError):
    """A thread that waits inside of the kernel for a page which a task of the tree itself is to bring."""


@dataclass
class FrozenTree:
    """The tasks of a tree, parents before children, every thread seized and standing still."""

    root_pid: int
    deadline: float = float("inf")
    freezer: str = ""
    """directory of a cgroup that holds the tree: frozen as a whole while its tasks are seized"""
    level: int = 0
    """depth of the root's pid namespace: index of its ids in NSpid and the like"""
    tasks: dict[int, DumpTask] = field(default_factory=dict)
    _unstopped: list[Tracee] = field(default_factory=list)
    """threads that were told to stop and let go before they did"""
    _refreeze: bool = False
    _safety: Undo = field(default_factory=Undo)
    """gives the cgroup its former state even if we are killed"""

    def freeze(self) -> None:
        """Seize until nothing new appears; on failure everything seized so far is let go.

        A task that waits in vfork(2) cannot be stopped; such waits are short as a rule, so it is tried again.
        Nor can one in a system call that needs a page of a userfaultfd(2), until a task that we hold has brought it.
        """
        while True:
            try:
                return self._freeze_once()
            except WaitsInVfork:
                if time.monotonic() > self.deadline:
                    raise
                self.tasks.clear()
                time.sleep(0.005)
            except WaitsForPage:
                if time.monotonic() > self.deadline:
                    raise
                self._see_off()
                self.tasks.clear()

    def _see_off(self) -> None:
        """Everybody runs: those that did not stop come to it now, and are let go too."""
        while self._unstopped:
            tracee = self._unstopped.pop()
            try:
                tracee.settle(self.deadline)
                tracee.detach()
            except (TaskGone, ProcessLookupError):
                continue
            except TimeoutError:
                raise CheckpointError(f"thread {tracee.tid} does not stop: it waits {_WAIT}") from None

    def _freeze_once(self) -> None:
        self.level = len(proc.ns_ids(proc.status(self.root_pid), "NSpid")) - 1
        try:
            if self.freezer:
                with self._cgroup_frozen():
                    self._spread(settle=False)
                self._settle_all()
            self._spread(settle=True)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let every thread go on as it was; tasks stopped by job control stay stopped, a frozen cgroup frozen."""
        runs = not self._refreeze
        self._freeze_again()
        for task in self.tasks.values():
            self._let_go(task, runs)

    def kill(self) -> None:
        """End every task, children last, so that nobody sees them die."""
        for task in self.tasks.values():
            if not task.is_zombie:
                os.kill(task.pid, signal.SIGKILL)
        self._reap()
        self._freeze_others()

    def stop(self) -> None:
        """Leave the tasks in job-control stop (SIGSTOP)."""
        for task in self.tasks.values():
            if not task.is_zombie:
                os.kill(task.pid, signal.SIGSTOP)
        self.release()

    def _reap(self) -> None:
        """In the order in which they end.

        The init of a pid namespace ends only when all others are reaped, its own threads too.
        """
        left = [thread.tid for task in reversed(self.tasks.values()) for thread in reversed(task.threads)]
        while left := [tid for tid in left if not _reaped(tid)]:
            time.sleep(0.0002)

    def _let_go(self, task: DumpTask, runs: bool = True) -> None:
        """What does not stop, the kernel lets go of when we end."""
        if tracees := [thread.tracee for thread in task.threads if thread.tracee.tid]:
            self._unstopped += let_go(tracees, runs=runs)
        task.threads.clear()

    @contextmanager
    def _cgroup_frozen(self) -> Iterator[None]:
        """Inside the block no task of the cgroup runs.  (Afterwards ptrace holds them: frozen they could not act.)"""
        from cgroups import freezer
        from cgroups.errors import CgroupError

        left = max(1.0, min(self.deadline - time.monotonic(), 3600))
        frozen = False
        try:
            self._safety.append(partial(_as_it_was, self.freezer, freezer.wanted_frozen(self.freezer)))
            with critical():  # an interruption between the freezing and our knowing of it would leave it frozen
                self._refreeze = freezer.freeze(self.freezer, left)
                frozen = True
            yield
            freezer.thaw(self.freezer, left)
        except BaseException as error:
            if frozen:
                freezer.thaw(self.freezer, left)  # twice does no harm
            if isinstance(error, CgroupError):
                raise CheckpointError(f"--freeze-cgroup: {error}") from error
            raise

    def _freeze_others(self) -> None:
        """The tree is gone: a cgroup that was frozen is frozen again for the sake of others, where there are any.

        Empty and frozen it would only trap whoever enters next, as the restore does.
        """
        if self._refreeze:
            from cgroups import freezer

            self._refreeze = not freezer.is_empty(self.freezer)
        self._freeze_again()

    def _freeze_again(self) -> None:
        if self._refreeze:
            from cgroups import freezer

            freezer.freeze(self.freezer)
            self._refreeze = False
        self._safety.forget()

    def _spread(self, *, settle: bool) -> None:
        """From the root to all descendants, again and again until there is no new one."""
        if self.root_pid not in self.tasks:
            self._freeze_process(self.root_pid, None, settle)
        while self._freeze_children(settle):
            self._check_deadline()

    def _check_deadline(self) -> None:
        if time.monotonic() > self.deadline:
            raise CheckpointError(
                f"freezing the tree of task {self.root_pid} took too long: it keeps creating tasks; "
                "use --freeze-cgroup, or a larger --timeout"
            )

    def _freeze_children(self, settle: bool) -> bool:
        """One look at all tasks, those included that it finds; whether there were any.

        Of one that has vanished meanwhile, the children are somebody else's now, who may have been looked at before.
        """
        waiting, changed = list(self.tasks.values()), False
        for task in waiting:
            if task.is_zombie:
                continue
            for pid in proc.children(task.pid):
                if pid not in self.tasks:
                    changed = True
                    self._freeze_process(pid, task, settle)
                    waiting += [self.tasks[pid]] if pid in self.tasks else []
            self._check_deadline()
        return changed

    def _freeze_process(self, pid: int, parent: DumpTask | None, settle: bool) -> None:
        """Seize all threads of one process; it is none of the tasks where it has vanished meanwhile."""
        try:
            self.tasks[pid] = task = self._describe(pid, parent)
            if task.is_zombie and len(proc.threads(pid)) > 1:
                task.threads.clear()  # its main thread has exited; whether the others live will be seen
                self._seize_threads(task, settle)
            elif not task.is_zombie:
                self._seize_threads(task, settle)
        except (ProcessLookupError, FileNotFoundError):
            self.tasks.pop(pid, None)
            if parent is None:
                raise CheckpointError(f"no process {pid}: it ended before it could be frozen") from None

    def _describe(self, pid: int, parent: DumpTask | None) -> DumpTask:
        stat, fields = proc.stat(pid), proc.status(pid)
        vpid, vpgid, vsid = (proc.ns_ids(fields, name)[self.level] for name in ("NSpid", "NSpgid", "NSsid"))
        task = DumpTask(pid, vpid, parent.vpid if parent else 0, vpgid, vsid, stat, parent)
        if task.is_zombie:
            task.threads = [DumpThread(pid, vpid, vpid, Tracee(0), task, fields)]
        return task

    def _seize_threads(self, task: DumpTask, settle: bool) -> None:
        """Until no thread is new.  All are told to stop before any is waited for.

        The main thread comes last: signals to the process go to it as long as it runs (see cr.remote.letting_go).
        """
        leader_ended, workers = bool(task.exited_main), set[int]()
        while fresh := listed(task, leader_ended, stopped=settle) - {thread.tid for thread in task.threads} - workers:
            workers |= {tid for tid in fresh - {task.tgid} if proc.is_worker(task.tgid, tid)}
            fresh -= workers
            held = [
                thread for tid in sorted(fresh, key=lambda tid: (tid == task.pid, tid)) if (thread := seize(task, tid))
            ]
            leader_ended |= task.tgid in fresh and task.tgid not in {thread.tid for thread in held}
            task.threads += held
            if settle:
                self._settle(task, held)
            self._check_deadline()
        task.threads.sort(key=lambda thread: thread.tid != task.pid)
        if settle:
            self._look_again(task)

    def _settle_all(self) -> None:
        for task in list(self.tasks.values()):
            if self.tasks.get(task.pid) is not task:
                continue  # it was let go again
            if not task.is_zombie or any(thread.tracee.tid for thread in task.threads):
                self._settle(task, task.threads)
                self._seize_threads(task, settle=True)  # those that were stopped

    def _settle(self, task: DumpTask, threads: list[DumpThread]) -> None:
        for thread in list(threads):
            try:
                self._wait_for_stop(thread)
                leave_vdso(thread, self.deadline)
            except TaskGone:
                thread.tracee.tid = 0
                task.threads.remove(thread)
            except TimeoutError:
                raise why_no_stop(thread) from None

    def _wait_for_stop(self, thread: DumpThread) -> None:
        """Sooner or later, unless it waits for somebody who stands still already."""
        try:
            return thread.tracee.settle(min(self.deadline, time.monotonic() + _AT_ONCE))
        except TimeoutError:
            if vfork.waits(thread):
                self._free_vfork_children(thread.task)
        try:
            return thread.tracee.settle(min(self.deadline, time.monotonic() + _SHORTLY))
        except TimeoutError:
            if any(user_faults.holds_one(task.tgid) for task in self.tasks.values()):
                raise WaitsForPage(f"{thread.task} does not stop: its thread {thread.tid} waits {_WAIT}") from None
            return thread.tracee.settle(self.deadline)

    def _free_vfork_children(self, parent: DumpTask) -> None:
        """They are found again, as any other child, once they have called exec or ended."""
        for child in [task for task in self.tasks.values() if vfork.is_vfork_child(task, parent)]:
            self._settle(child, child.threads)
            self._let_go(child)
            del self.tasks[child.pid]

    def _look_again(self, task: DumpTask) -> None:
        """What was seen before the task stood still may have changed until then."""
        seen = self._describe(task.tgid, task.parent)
        task.stat, task.vpgid, task.vsid = seen.stat, seen.vpgid, seen.vsid
        if task.is_zombie and task.threads:
            answer_by_another(task)
        if task.is_zombie:
            task.threads = seen.threads
            return
        for thread in task.threads:
            thread.status = proc.status(thread.tid)
            ids = proc.ns_ids(thread.status, "NSpid")
            thread.vtid, thread.ns_tid = ids[self.level], ids[-1]
            if ptrace.dispatches_system_calls(thread.tid):
                raise CheckpointError(
                    f"thread {thread.tid} of {task} has its system calls sent to it as signals "
                    "(PR_SET_SYSCALL_USER_DISPATCH), ours too: let the program turn that off"
                )
            if thread.status["Seccomp"] != "0":
                thread.tracee.options(ptrace.O_TRACESYSGOOD | ptrace.O_SUSPEND_SECCOMP)
            lead_out(thread)


def _as_it_was(path: str, frozen: bool) -> None:
    from cgroups import freezer

    (freezer.freeze if frozen else freezer.thaw)(path)
