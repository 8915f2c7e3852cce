"""Names that programs give to their anonymous memory: prctl(2) PR_SET_VMA_ANON_NAME, a build option of the kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource
from cr.resources.tasks.own_settings import own_entry, restored_entry

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.kernel.proc import Mapping
    from cr.remote.program import Program
    from images import messages as m

_PR_SET_VMA, _ANON_NAME = 0x53564D41, 0
_HOW_SHOWN = ("[anon:", "[anon_shmem:")


class MemoryNames(ProcessResource):
    """As /proc/PID/maps shows them; a kernel that knows no names goes without."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for mapping in thread.task.mappings:
            if name := name_of(mapping):
                own_entry(thread, context).name.add(start=mapping.start, end=mapping.end, name=name)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        entry = restored_entry(thread, context)
        for each in entry.name if entry is not None else ():
            size, name = each.end - each.start, program.cstr(each.name)
            program.call("prctl", _PR_SET_VMA, _ANON_NAME, each.start, size, name, may_fail=True)


def name_of(mapping: Mapping) -> bytes:
    """Nothing where it has none."""
    for start in _HOW_SHOWN:
        if mapping.path.startswith(start):
            return os.fsencode(mapping.path.removeprefix(start).removesuffix("]"))
    return b""
