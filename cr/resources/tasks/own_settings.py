"""Settings of a thread that CRIU's images have no field for: woodfrog-task-PID.img.

Processor affinity, timer slack, I/O priority, core dump filter, autogroup, faulting CPUID.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import ThreadResource
from cr.kernel import controls, proc
from cr.kernel.ioprio import ioprio_get, ioprio_set
from cr.resources.tasks.proc_settings import write_setting

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_TIMER_SLACK = 50000
_COREDUMP_FILTER = 0x33


def own_entry(thread: DumpThread, context: DumpContext) -> m.woodfrog_task_entry:
    """The thread's own message, to be filled in."""
    from images import messages as m

    return context.once(("woodfrog task", thread.tid), lambda: m.woodfrog_task_entry(tid=thread.vtid))


def write_own_entries(task: DumpTask, context: DumpContext) -> None:
    """The messages of a process, once all that there is has been recorded."""
    entries = [own_entry(each, context) for each in task.threads]
    if task.exited_main:
        entries.insert(0, _of_exited_main(task, context))
    context.images.write("woodfrog-task", task.vpid, entries=entries)


def _of_exited_main(task: DumpTask, context: DumpContext) -> m.woodfrog_task_entry:
    """What the thread in its place has said of the process."""
    from images import messages as m

    entry = m.woodfrog_task_entry()
    entry.CopyFrom(own_entry(task.leader, context))
    entry.ClearField("sleep")
    entry.tid, entry.exited = task.vpid, task.main_status
    return entry


def restored_entry(thread: RestoreThread, context: RestoreContext) -> m.woodfrog_task_entry | None:
    """The thread's own message, None where another engine made the images or all was default."""
    entries: dict[int, m.woodfrog_task_entry] = context.once(
        ("woodfrog task", thread.task.vpid), lambda: _read(thread.task, context)
    )
    return entries.get(thread.vtid)


def _read(task: RestoreTask, context: RestoreContext) -> dict[int, m.woodfrog_task_entry]:
    if not context.images.exists("woodfrog-task", task.vpid):
        return {}
    return {entry.tid: entry for entry in context.images.read("woodfrog-task", task.vpid)}


class OwnSettings(ThreadResource):
    """What differs from the default."""

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._cpuid = program.call("arch_prctl", controls.ARCH_GET_CPUID, 0, may_fail=True)
        self._slack = program.call("prctl", controls.PR_GET_TIMERSLACK, 0, 0, 0, 0)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        entry = own_entry(thread, context)
        cpus = os.sched_getaffinity(thread.tid)
        if cpus != all_cpus():
            entry.cpus.extend(sorted(cpus))
        if self._slack.value != _TIMER_SLACK:
            entry.timer_slack = self._slack.value
        if priority := ioprio_get(thread.tid):
            entry.io_priority = priority
        if self._cpuid.value == 0:
            entry.cpuid_faults = True
        if thread.is_leader:
            _record_process(thread, entry)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        entry = restored_entry(thread, context)
        if entry is None:
            return
        if entry.cpuid_faults:
            program.call("arch_prctl", controls.ARCH_SET_CPUID, 0, note="CPUID faults")
        if entry.timer_slack:
            program.call("prctl", controls.PR_SET_TIMERSLACK, entry.timer_slack, 0, 0, 0)
        context.at_end.append(lambda: _apply(thread, entry))


def all_cpus() -> set[int]:
    """Processors that are online."""
    found: set[int] = set()
    with open("/sys/devices/system/cpu/online") as file:
        for part in file.read().split(","):
            first, _, last = part.strip().partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    return found


def _record_process(thread: DumpThread, entry: m.woodfrog_task_entry) -> None:
    if (mask := int(proc.read_text(thread.tid, "coredump_filter") or "33", 16)) != _COREDUMP_FILTER:
        entry.coredump_filter = mask
    if nice := _autogroup_nice(thread.tid):
        entry.autogroup_nice = nice
    if thread.task.stat.exit_signal != signal.SIGCHLD:
        entry.exit_signal = thread.task.stat.exit_signal


def _autogroup_nice(pid: int) -> int:
    """The session's niceness; 0 where there are no autogroups (a build option)."""
    try:
        _, _, nice = proc.read_text(pid, "autogroup").partition(" nice ")  # "/autogroup-42 nice 0"
    except (FileNotFoundError, OSError):
        return 0
    return int(nice) if nice else 0


def _apply(thread: RestoreThread, entry: m.woodfrog_task_entry) -> None:
    tid = thread.puppet.tid
    steps: list[tuple[str, Callable[[], object]]] = [
        ("processor affinity", lambda: os.sched_setaffinity(tid, set(entry.cpus) or all_cpus()))
    ]
    if entry.HasField("io_priority"):
        steps.append(("I/O priority", lambda: ioprio_set(tid, entry.io_priority)))
    if entry.HasField("coredump_filter"):
        steps.append(("core dump filter", lambda: write_setting(tid, "coredump_filter", hex(entry.coredump_filter))))
    if entry.HasField("autogroup_nice"):
        steps.append(("autogroup niceness", lambda: write_setting(tid, "autogroup", str(entry.autogroup_nice))))
    for name, step in steps:
        try:
            step()
        except OSError as error:
            log.warning(f"{name} of thread {thread.vtid} of {thread.task} is not what it was: {error.strerror}")
