"""Freeze a process tree at one moment, and let it go again."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field

from cr.contract.dumping import DumpTask, DumpThread
from cr.kernel import proc, ptrace
from cr.model import CheckpointError
from cr.remote.tracee import Tracee


@dataclass
class FrozenTree:
    """The tasks of a tree, parents before children, every thread seized and standing still."""

    root_pid: int
    level: int = 0
    """depth of the root's pid namespace: index of its ids in NSpid and the like"""
    deadline: float = float("inf")
    tasks: dict[int, DumpTask] = field(default_factory=dict)

    def freeze(self) -> None:
        """Seize until nothing new appears; on failure everything seized so far is let go."""
        self.level = len(proc.ns_ids(proc.status(self.root_pid), "NSpid")) - 1
        try:
            self._freeze_process(self.root_pid, None)
            while self._freeze_children():
                self._check_deadline()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let every thread go on as it was; tasks stopped by job control stay stopped."""
        for task in self.tasks.values():
            for thread in task.threads:
                if thread.tracee.tid:
                    self._let_go(thread.tracee)
            task.threads.clear()

    def kill(self) -> None:
        """End every task, children last, so that nobody sees them die."""
        for task in self.tasks.values():
            if not task.is_zombie:
                os.kill(task.pid, signal.SIGKILL)
        self._reap()

    def stop(self) -> None:
        """Leave the tasks in job-control stop (SIGSTOP)."""
        for task in self.tasks.values():
            if not task.is_zombie:
                os.kill(task.pid, signal.SIGSTOP)
        self.release()

    def _reap(self) -> None:
        for task in self.tasks.values():
            for thread in reversed(task.threads):
                try:
                    os.waitpid(thread.tid, 0x40000000)
                except ChildProcessError:
                    continue

    @staticmethod
    def _let_go(tracee: Tracee) -> None:
        try:
            tracee.detach()
        except ProcessLookupError:
            return  # it was killed meanwhile: nothing is held

    def _check_deadline(self) -> None:
        if time.monotonic() > self.deadline:
            raise CheckpointError(
                f"freezing the tree of task {self.root_pid} took too long: it keeps creating tasks; "
                "use --freeze-cgroup, or a larger --timeout"
            )

    def _freeze_children(self) -> bool:
        new = False
        for task in list(self.tasks.values()):
            if task.is_zombie:
                continue
            for pid in proc.children(task.pid):
                if pid not in self.tasks:
                    new |= self._freeze_process(pid, task)
        return new

    def _freeze_process(self, pid: int, parent: DumpTask | None) -> bool:
        """Seize all threads of one process; False where it has vanished meanwhile."""
        try:
            stat = proc.stat(pid)
            task = self._describe(pid, stat, parent)
            self.tasks[pid] = task
            if not task.is_zombie:
                self._seize_threads(task)
        except (ProcessLookupError, FileNotFoundError):
            gone = self.tasks.pop(pid, None)
            if parent is None:
                raise CheckpointError(f"no process {pid}: it ended before it could be frozen") from None
            return gone is not None
        return True

    def _describe(self, pid: int, stat: proc.Stat, parent: DumpTask | None) -> DumpTask:
        fields = proc.status(pid)
        vpid, vpgid, vsid = (proc.ns_ids(fields, name)[self.level] for name in ("NSpid", "NSpgid", "NSsid"))
        task = DumpTask(pid, vpid, parent.vpid if parent else 0, vpgid, vsid, stat, parent)
        if task.is_zombie:
            task.threads = [DumpThread(pid, vpid, Tracee(0), task, fields)]
        return task

    def _seize_threads(self, task: DumpTask) -> None:
        while fresh := set(proc.threads(task.pid)) - {thread.tid for thread in task.threads}:
            held = [self._seize(task, tid) for tid in sorted(fresh, key=lambda tid: (tid != task.pid, tid))]
            for thread in held:
                thread.tracee.settle()
        for thread in task.threads:
            thread.status = proc.status(thread.tid)
        task.stat = proc.stat(task.pid)

    def _seize(self, task: DumpTask, tid: int) -> DumpThread:
        fields = proc.status(tid)
        options = ptrace.O_TRACESYSGOOD
        if fields["Seccomp"] != "0":
            options |= ptrace.O_SUSPEND_SECCOMP
        try:
            tracee = Tracee.seize(tid, options)
        except PermissionError as error:
            raise CheckpointError(_why_not(tid, fields)) from error
        thread = DumpThread(tid, proc.ns_ids(fields, "NSpid")[-1], tracee, task, fields)
        task.threads.append(thread)
        tracee.interrupt()
        return thread


def _why_not(tid: int, fields: dict[str, str]) -> str:
    tracer = fields.get("TracerPid", "0")
    if tracer != "0":
        return f"task {tid} ({fields['Name']}) is traced by process {tracer}: detach that debugger first"
    return f"task {tid} ({fields['Name']}) may not be traced by us: run as root with CAP_SYS_PTRACE"
