"""Scheduling policy, priority and niceness of a thread: sched(7)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.resource import ThreadResource
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_RESET_ON_FORK = 0x40000000
_DEADLINE = 6
_KNOWN = {os.SCHED_OTHER, os.SCHED_FIFO, os.SCHED_RR, os.SCHED_BATCH, os.SCHED_IDLE}


class Scheduling(ThreadResource):
    """All is seen, and set at the very end, from outside."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        policy = os.sched_getscheduler(thread.tid)
        if policy & ~_RESET_ON_FORK not in _KNOWN:
            name = "SCHED_DEADLINE" if policy & ~_RESET_ON_FORK == _DEADLINE else f"scheduling policy {policy}"
            context.refuse(f"thread {thread.tid} of {thread.task} has {name}, which cannot be dumped")
        entry = core.thread_core
        entry.sched_policy = policy
        entry.sched_nice = os.getpriority(os.PRIO_PROCESS, thread.tid)
        priority = os.sched_getparam(thread.tid).sched_priority
        if priority:
            entry.sched_prio = priority

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        entry = thread.core.thread_core
        if entry.HasField("sched_policy"):
            context.at_end.append(lambda: _apply(thread, entry))


def _apply(thread: RestoreThread, entry: m.thread_core_entry) -> None:
    tid = thread.puppet.tid
    try:
        os.setpriority(os.PRIO_PROCESS, tid, entry.sched_nice)
        os.sched_setscheduler(tid, entry.sched_policy, os.sched_param(entry.sched_prio))
    except OSError as error:
        raise CheckpointError(
            f"cannot give thread {thread.vtid} of {thread.task} its scheduling policy {entry.sched_policy}, "
            f"priority {entry.sched_prio}, niceness {entry.sched_nice}: {error.strerror}"
        ) from error
