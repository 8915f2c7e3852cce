"""Segment descriptors of a thread (set_thread_area(2)) and of a process (modify_ldt(2))."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, ThreadResource
from cr.kernel import ptrace

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_ENTRIES = (12, 13, 14)  # GDT_ENTRY_TLS_MIN .. MAX of x86-64
_USER_DESC = struct.Struct("<4I")  # entry_number, base_addr, limit, flags
_FLAGS = {
    "seg_32bit": 0, "contents_h": 2, "contents_l": 1, "read_exec_only": 3, "limit_in_pages": 4,
    "seg_not_present": 5, "usable": 6,
}  # fmt: skip
"""bits of the flags word; `contents` is two bits"""
_EMPTY = 1 << 3 | 1 << 5  # read_exec_only, seg_not_present


class ThreadAreas(ThreadResource):
    """The three descriptors of thread-local storage.  64-bit programs rarely use them."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for number in _ENTRIES:
            found = ptrace.get_thread_area(thread.tid, number)
            if found is None:
                return  # the kernel was built without 32-bit emulation
            _, base, limit, flags = _USER_DESC.unpack(found)
            bits = {name: bool(flags >> bit & 1) for name, bit in _FLAGS.items()}
            core.thread_info.tls.add(entry_number=number, base_addr=base, limit=limit, **bits)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        for entry in thread.core.thread_info.tls:
            flags = sum(getattr(entry, name) << bit for name, bit in _FLAGS.items())
            if flags != _EMPTY or entry.base_addr or entry.limit:
                record = _USER_DESC.pack(entry.entry_number, entry.base_addr, entry.limit, flags)
                ptrace.set_thread_area(thread.puppet.tid, entry.entry_number, record)


class LocalDescriptorTable(ProcessResource):
    """modify_ldt(2): what Wine and DOS emulators use; the images have no place for it."""

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:
        self._size = program.call("modify_ldt", 0, program.buffer(8), 8, may_fail=True)

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        if 0 < self._size.value & 0xFFFFFFFF < 1 << 31:
            context.refuse(f"{thread.task} has a local descriptor table (modify_ldt), which cannot be dumped")

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """Nothing: a task with one is never dumped."""
