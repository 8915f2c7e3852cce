"""Mappings that cannot be changed any more: mseal(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, Stage
from cr.resources.tasks.own_settings import own_entry, restored_entry

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_KERNELS = "[v"  # how the kernel's own mappings are called, which it seals itself where it wants to


class MemorySeals(ProcessResource):
    """The last that is done to an address space: afterwards nobody unmaps, moves or protects these anew."""

    stage = Stage.SEALED
    order = -10

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for mapping in thread.task.mappings:
            if "sl" in mapping.flags and not mapping.path.startswith(_KERNELS):
                own_entry(thread, context).sealed.add(start=mapping.start, end=mapping.end)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        entry = restored_entry(thread, context)
        for span in entry.sealed if entry is not None else ():
            program.call("mseal", span.start, span.end - span.start, 0)
