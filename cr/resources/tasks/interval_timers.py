"""The three interval timers of a process: setitimer(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, Stage

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_ITIMERVAL = struct.Struct("<4q")  # interval, value: seconds, microseconds each
_KINDS = ("real", "virt", "prof")  # ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF


class IntervalTimers(ProcessResource):
    """Interval and time left."""

    stage = Stage.ARMED

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._found = [program.buffer(_ITIMERVAL.size) for _ in _KINDS]
        for kind, buffer in enumerate(self._found):
            program.call("getitimer", kind, buffer)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for name, buffer in zip(_KINDS, self._found, strict=True):
            entry = getattr(core.tc.timers, name)
            entry.isec, entry.iusec, entry.vsec, entry.vusec = _ITIMERVAL.unpack(buffer.bytes)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        if not thread.core.tc.HasField("timers"):
            return
        for kind, name in enumerate(_KINDS):
            entry = getattr(thread.core.tc.timers, name)
            interval = (entry.isec, entry.iusec)
            # nothing left of a period: its signal is pending, the kernel would have begun the next when that is taken
            value = (entry.vsec, entry.vusec) if entry.vsec or entry.vusec else interval
            if any(value):
                program.call("setitimer", kind, program.data(_ITIMERVAL.pack(*interval, *value)), 0)
