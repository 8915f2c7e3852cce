"""Anonymous memory that processes share: mmap(2) with MAP_SHARED | MAP_ANONYMOUS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.shmem import dump_shmem, restore_shmem
from cr.contract.vma import VmaResource
from cr.kernel import mman
from cr.kernel.map_files import open_mapping, shared_anonymous
from cr.resources.memory.anonymous_memory import HUGE
from cr.resources.memory.memfd import opened_anonymous
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from images import messages as m

_ANON_SHARED = int(VmaStatus.ANON_SHARED)  # a plain number: an operation on a flag class takes a microsecond


class SharedAnonymousMemory(VmaResource):
    """One object under several tasks: its inode number names it, its pages are written once.

    With MAP_HUGETLB it is of huge pages (/proc/sys/vm/nr_hugepages).
    """

    status = VmaStatus.ANON_SHARED
    private_pages = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.shared and mapping.path.startswith(("/dev/zero (deleted)", "[anon_shmem:", HUGE))

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        entry.flags |= mman.MAP_ANONYMOUS
        entry.shmid = mapping.inode
        dump_object(mapping, mapping.inode, task, context)

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int:
        return context.once(("shmem", entry.shmid), lambda: _make(entry.shmid, context))


def dump_object(mapping: Mapping, shmid: int, task: DumpTask, context: DumpContext) -> None:
    """Write the content of the object behind a mapping."""
    fd = open_mapping(task.pid, mapping.start, mapping.end, os.O_RDONLY)
    try:
        dump_shmem(context, shmid, fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _make(shmid: int, context: RestoreContext) -> int:
    """The object, large enough for every mapping of it in the tree."""
    opened = opened_anonymous(shmid, context)
    if opened is not None:
        return opened
    size = huge = 0
    for task in context.tasks:
        for vma in task.mm.vmas if task.mm is not None else ():
            if vma.shmid == shmid and vma.status & _ANON_SHARED:
                size = max(size, vma.pgoff + vma.end - vma.start)
                huge = vma.flags & (mman.MAP_HUGETLB | 0x3F << mman.MAP_HUGE_SHIFT)
    fd = context.keep(shared_anonymous(size, huge))
    restore_shmem(context, shmid, fd)
    return fd
