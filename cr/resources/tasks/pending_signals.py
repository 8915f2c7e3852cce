"""Signals that wait: the queue of each thread and that of the process (sigpending(2), PTRACE_PEEKSIGINFO).

They are queued again by the task itself, the only sender whom the kernel believes any si_code.
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, Stage, ThreadResource
from cr.kernel import ptrace

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_SIGSET_SIZE = 8


def signal_number(siginfo: bytes) -> int:
    number: int = struct.unpack_from("<i", siginfo)[0]
    return number


def complete(queue: list[bytes], pending: int) -> list[bytes]:
    """The queue, and a bare siginfo for each pending signal that the kernel had no room to queue (signal(7))."""
    queued = {signal_number(siginfo) for siginfo in queue}
    bare = [signo for signo in range(1, 65) if pending >> (signo - 1) & 1 and signo not in queued]
    return queue + [struct.pack("<i", signo).ljust(ptrace.SIGINFO_SIZE, b"\0") for signo in bare]


class ThreadSignals(ThreadResource):
    """Signals sent to one thread (tgkill(2))."""

    stage = Stage.ARMED
    order = -10

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        queue = complete(ptrace.pending_signals(thread.tid, shared=False), int(thread.status["SigPnd"], 16))
        core.thread_core.signals_p.SetInParent()
        for siginfo in queue:
            core.thread_core.signals_p.signals.add(siginfo=siginfo)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        for siginfo in _queue(thread.core.thread_core.signals_p):
            context.make_room(thread, program)
            signo = signal_number(siginfo)
            who = thread.identity
            program.call("rt_tgsigqueueinfo", who.tgid, who.tid, signo, program.data(siginfo))


class ProcessSignals(ProcessResource):
    """Signals sent to the process as a whole (kill(2))."""

    stage = Stage.ARMED
    order = -20

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        queue = complete(ptrace.pending_signals(thread.tid, shared=True), int(thread.status["ShdPnd"], 16))
        core.tc.signals_s.SetInParent()
        for siginfo in queue:
            core.tc.signals_s.signals.add(siginfo=siginfo)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        forget_children_news(program)
        for siginfo in _queue(thread.core.tc.signals_s):
            context.make_room(thread, program)
            program.call("rt_sigqueueinfo", thread.identity.tgid, signal_number(siginfo), program.data(siginfo))


def forget_children_news(program: Program) -> None:
    """Take away a SIGCHLD that the restore itself has caused (children that died to be zombies again)."""
    only = program.data(struct.pack("<Q", 1 << (signal.SIGCHLD - 1)))
    now = program.data(bytes(16))
    program.call("rt_sigtimedwait", only, 0, now, _SIGSET_SIZE, may_fail=True)


def _queue(entry: m.signal_queue_entry) -> Iterable[bytes]:
    for item in entry.signals:
        yield bytes(item.siginfo[: ptrace.SIGINFO_SIZE]).ljust(ptrace.SIGINFO_SIZE, b"\0")
