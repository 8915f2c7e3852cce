"""What a task set by prctl(2) and the like: tid address, parent death signal, subreaper, dumpable, membarrier."""

from __future__ import annotations

import signal
import struct
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import ProcessResource, Stage, ThreadResource
from cr.kernel import controls

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m


class TidAddress(ThreadResource):
    """The word that the kernel clears, and wakes, when the thread ends (set_tid_address(2))."""

    stage = Stage.STATE

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._address = program.buffer(8)
        program.call("prctl", controls.PR_GET_TID_ADDRESS, self._address, 0, 0, 0)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        core.thread_info.clear_tid_addr = struct.unpack("<Q", self._address.bytes)[0]

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        if thread.core.thread_info.clear_tid_addr:
            program.call("set_tid_address", thread.core.thread_info.clear_tid_addr)


class ParentDeathSignal(ThreadResource):
    """PR_SET_PDEATHSIG; any change of credentials clears it, so it comes late."""

    stage = Stage.SEALED

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._signal = program.buffer(8)
        program.call("prctl", controls.PR_GET_PDEATHSIG, self._signal, 0, 0, 0)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        signo = struct.unpack_from("<i", self._signal.bytes)[0]
        if signo:
            core.thread_core.pdeath_sig = signo

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        signo = thread.core.thread_core.pdeath_sig
        if not signo:
            return
        options = context.options
        if thread.task.parent is None and options.restore_detached and not options.restore_sibling:
            log.warning(
                f"{thread.task} asked for {signal.Signals(signo).name} when its parent ends, which was outside of "
                "the tree; its parent is now the restore, which ends at once: not set"
            )
            return
        program.call("prctl", controls.PR_SET_PDEATHSIG, signo, 0, 0, 0)


class ChildSubreaper(ProcessResource):
    """PR_SET_CHILD_SUBREAPER: orphaned descendants become children of this process."""

    stage = Stage.STATE

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._subreaper = program.buffer(8)
        program.call("prctl", controls.PR_GET_CHILD_SUBREAPER, self._subreaper, 0, 0, 0)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        if any(self._subreaper.bytes):
            core.tc.child_subreaper = True

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        if thread.core.tc.child_subreaper:
            program.call("prctl", controls.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Dumpable(ProcessResource):
    """PR_SET_DUMPABLE, recorded with the address space; any change of credentials resets it, so it comes late."""

    stage = Stage.SEALED

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        """In mm_entry."""

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        mm = thread.task.mm
        if mm is not None and mm.HasField("dumpable") and mm.dumpable in (0, 1):
            program.call("prctl", controls.PR_SET_DUMPABLE, mm.dumpable, 0, 0, 0)


class MembarrierRegistrations(ProcessResource):
    """Kinds of membarrier(2) that the process may use."""

    stage = Stage.STATE

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        command = controls.MEMBARRIER_CMD_GET_REGISTRATIONS
        self._registered = program.call("membarrier", command, 0, 0, may_fail=True, note="Linux 6.3")

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        if self._registered.value > 0:
            core.tc.membarrier_registration_mask = self._registered.value

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        mask = thread.core.tc.membarrier_registration_mask
        for bit in range(32):
            if mask >> bit & 1:
                program.call("membarrier", 1 << bit, 0, 0, note="register")
