"""What a process does at each signal: rt_sigaction(2)."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, Stage

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_KERNEL_SIGACTION = struct.Struct("<4Q")  # handler, flags, restorer, mask
_SIGSET_SIZE = 8
_FIXED = (signal.SIGKILL, signal.SIGSTOP)
SIGNALS = tuple(signo for signo in range(1, 65) if signo not in _FIXED)
"""Signals that have an action, in the order of task_core_entry.sigactions."""


class SignalActions(ProcessResource):
    """Handlers, their flags and masks."""

    stage = Stage.STATE

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._found = program.buffer(_KERNEL_SIGACTION.size * len(SIGNALS))
        for index, signo in enumerate(SIGNALS):
            program.call("rt_sigaction", signo, 0, self._found.at(index * _KERNEL_SIGACTION.size), _SIGSET_SIZE)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for handler, flags, restorer, mask in _KERNEL_SIGACTION.iter_unpack(self._found.bytes):
            core.tc.sigactions.add(sigaction=handler, flags=flags, restorer=restorer, mask=mask, compat_sigaction=False)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        for signo, entry in zip(SIGNALS, thread.core.tc.sigactions, strict=False):
            record = _KERNEL_SIGACTION.pack(entry.sigaction, entry.flags, entry.restorer, entry.mask)
            if any(record):
                program.call("rt_sigaction", signo, program.data(record), 0, _SIGSET_SIZE)
