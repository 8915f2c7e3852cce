"""The alternate signal stack of a thread: sigaltstack(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract.resource import Stage, ThreadResource

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_STACK = struct.Struct("<Qi4xQ")  # ss_sp, ss_flags, ss_size
_SS_ONSTACK, _SS_DISABLE = 1, 2


class SignalStack(ThreadResource):
    """Where handlers with SA_ONSTACK run.  (Whether one runs there now, the stack pointer says.)"""

    stage = Stage.STATE

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._stack = program.buffer(_STACK.size)
        program.call("sigaltstack", 0, self._stack)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        entry = core.thread_core.sas
        entry.ss_sp, flags, entry.ss_size = _STACK.unpack(self._stack.bytes)
        entry.ss_flags = flags & 0xFFFFFFFF

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        if not thread.core.thread_core.HasField("sas"):
            return
        entry = thread.core.thread_core.sas
        if entry.ss_flags & _SS_DISABLE:
            return
        flags = entry.ss_flags & ~_SS_ONSTACK
        flags -= flags >> 31 << 32  # SS_AUTODISARM is the sign bit
        program.call("sigaltstack", program.data(_STACK.pack(entry.ss_sp, flags, entry.ss_size)), 0)
