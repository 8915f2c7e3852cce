"""Restartable sequences of a thread: rseq(2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract.resource import Stage, ThreadResource
from cr.kernel import ptrace, vm

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_RSEQ_CS_OFFSET = 8


class RestartableSequences(ThreadResource):
    """The registered area.  A thread that was inside a sequence has been led out of it by the freeze."""

    stage = Stage.STATE

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        found = ptrace.rseq_configuration(thread.tid)
        if found.address:
            entry = core.thread_core.rseq_entry
            entry.rseq_abi_pointer, entry.rseq_abi_size, entry.signature = found.address, found.size, found.signature

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        if not thread.core.thread_core.HasField("rseq_entry"):
            return
        entry = thread.core.thread_core.rseq_entry
        program.call("rseq", entry.rseq_abi_pointer, entry.rseq_abi_size, 0, entry.signature)
        if entry.rseq_cs_pointer:
            content = struct.pack("<Q", entry.rseq_cs_pointer)
            place = entry.rseq_abi_pointer + _RSEQ_CS_OFFSET
            context.at_end.append(lambda: vm.write(thread.puppet.tid, place, content))
