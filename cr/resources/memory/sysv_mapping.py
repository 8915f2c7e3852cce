"""Attached System V shared memory segments (shmat(2)); the segments are the ipc namespace's."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cr.contract.sysv import entries
from cr.contract.vma import VmaResource, unsupported_flags
from cr.kernel import mman, proc
from cr.model import BadImages
from images.kinds import VmaStatus
from images.pages import PAGE_SIZE

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from cr.remote.program import Program
    from images import messages as m


class SysvMapping(VmaResource):
    """A segment, or what is left of it after munmap(2) and mprotect(2) of parts."""

    status = VmaStatus.ANON_SHARED | VmaStatus.SYSVIPC
    private_pages = False
    recreated = False
    own_way = True
    inherited = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path.startswith("/SYSV")

    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterable[str]:
        if proc.namespace_inode(task.pid, "ipc") == proc.namespace_inode("self", "ipc"):
            yield (
                f"is the System V shared memory segment {mapping.inode} of the host's own ipc namespace: "
                "run the tasks in an ipc namespace of theirs"
            )
        yield from unsupported_flags(mapping)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        entry.flags |= mman.MAP_ANONYMOUS
        entry.shmid = mapping.inode  # /proc/PID/maps shows the segment's id there
        entry.fdflags = os.O_RDWR if "mw" in mapping.flags else os.O_RDONLY

    @classmethod
    def attach(
        cls, room: Callable[[], Program], entries: list[m.vma_entry], task: RestoreTask, context: RestoreContext
    ) -> None:
        assert task.ids is not None
        sizes = segment_sizes(task.ids.ipc_ns_id, context)
        attached: defaultdict[tuple[int, int], list[m.vma_entry]] = defaultdict(list)
        for entry in entries:
            attached[entry.shmid, entry.start - entry.pgoff].append(entry)
        for (shmid, base), parts in attached.items():
            if shmid not in sizes:
                raise BadImages(f"{task} has System V segment {shmid} attached, which the images do not have")
            _attach(room, shmid, base, sizes[shmid], parts)


def segment_sizes(ns_id: int, context: RestoreContext) -> dict[int, int]:
    """Lengths of the whole mappings of the segments of an ipc namespace in bytes, by id."""

    def read() -> dict[int, int]:
        return {entry.desc.id: _length(entry) for entry, _ in entries("ipcns-shm", ns_id, context)}

    return context.once(("segment sizes", ns_id), read)


def _length(entry: m.ipc_shm_entry) -> int:
    page = 1 << (entry.hugetlb_flag >> mman.MAP_HUGE_SHIFT & 0x3F) if entry.hugetlb_flag else PAGE_SIZE
    return -(-entry.size // page) * page


def _writable(entry: m.vma_entry) -> bool:
    """Whether it was attached for writing, whatever mprotect(2) did since."""
    return bool(entry.fdflags & os.O_RDWR if entry.HasField("fdflags") else entry.prot & mman.PROT_WRITE)


def _attach(room: Callable[[], Program], shmid: int, base: int, size: int, parts: list[m.vma_entry]) -> None:
    """The whole segment at once, then the parts are unmapped that the task has not, and protected as they were."""
    most = 0
    for entry in parts:
        most |= entry.prot
    writable = any(_writable(entry) for entry in parts)
    most |= mman.PROT_WRITE if writable else 0
    flags = mman.SHM_REMAP | (0 if writable else mman.SHM_RDONLY)
    flags |= mman.SHM_EXEC if most & mman.PROT_EXEC else 0
    room().call("shmat", shmid, base, flags)
    position = base
    for entry in parts:
        if position < entry.start:
            room().call("munmap", position, entry.start - position)
        if entry.prot != most:
            room().call("mprotect", entry.start, entry.end - entry.start, entry.prot)
        position = entry.end
    end = base + size
    if position < end:
        room().call("munmap", position, end - position)
