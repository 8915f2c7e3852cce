"""FD_CLOEXEC of descriptors, where fdinfo does not tell it: fcntl(2) in the task does."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m


class CloseOnExec(ProcessResource):
    """Corrects the descriptor table of the dump; a restore has it from there."""

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        slots = context.files.doubtful(thread.task)
        self._flags = [(slot, program.call("fcntl", slot.fd, fcntl.F_GETFD)) for slot in slots]

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for slot, flags in self._flags:
            slot.flags = flags.value & fcntl.FD_CLOEXEC

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        return
