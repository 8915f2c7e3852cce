"""What every task has: its state, name, personality, blocked signals, robust futex list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, Stage, ThreadResource
from cr.kernel import proc
from cr.kernel.futex import get_robust_list
from cr.model import TASK_ALIVE, TASK_STOPPED
from cr.resources.tasks.own_settings import restored_entry

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

PR_SET_NAME = 15


class ProcessBasics(ProcessResource):
    """State, exit code, personality(2) and flags of a process."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        stopped_by = thread.tracee.stopped_by
        core.tc.task_state = TASK_STOPPED if stopped_by else TASK_ALIVE
        if stopped_by:
            core.tc.stop_signo = stopped_by
        core.tc.exit_code = 0
        core.tc.personality = int(proc.read_text(thread.tid, "personality"), 16)
        core.tc.flags = thread.task.stat.flags
        core.tc.blk_sigset = thread.tracee.sigmask
        core.tc.comm = proc.read_text(thread.tid, "comm").rstrip("\n")

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """With each thread."""


class ThreadBasics(ThreadResource):
    """Name, blocked signals and robust futex list (get_robust_list(2)) of a thread."""

    stage = Stage.STATE

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        entry = core.thread_core
        entry.futex_rla, entry.futex_rla_len = get_robust_list(thread.tid)
        entry.blk_sigset = thread.tracee.sigmask
        entry.comm = proc.read_text(thread.tid, "comm").rstrip("\n")

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        entry = thread.core.thread_core
        if personality := _personality(thread, context):
            program.call("personality", personality, note="threads have each their own copy")
        program.call("prctl", PR_SET_NAME, program.cstr(entry.comm or thread.task.core.tc.comm), 0, 0, 0)
        if entry.futex_rla:
            program.call("set_robust_list", entry.futex_rla, entry.futex_rla_len)
        mask = entry.blk_sigset if entry.HasField("blk_sigset") else thread.task.core.tc.blk_sigset
        thread.puppet.sigmask = mask


def _personality(thread: RestoreThread, context: RestoreContext) -> int:
    """The process's; criu reads the hexadecimal digits of /proc/PID/personality as decimal ones."""
    value = int(thread.task.core.tc.personality)
    return value if restored_entry(thread.task.leader, context) is not None else int(str(value), 16)
