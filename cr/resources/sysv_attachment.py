"""Attached System V segments (shmat(2)): mappings that /proc/PID/maps names /SYSVkey.

One attachment may stand as several mappings, by mprotect(2) and munmap(2); shmdt(2) takes them away together.
So a segment is attached once, in a free place, and its pieces are moved to where they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.vma import VmaResource, unsupported_flags
from cr.kernel import mman, proc, sysvipc
from cr.model import BadImages
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from cr.remote.program import Program
    from images import messages as m

MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
LOWEST = 0x10000
PAGE = os.sysconf("SC_PAGE_SIZE")
ALIGNMENT = 1 << 21  # good for huge pages of the usual size too


class SysvAttachment(VmaResource):
    """A piece of an attached segment; its contents are the ipc namespace's affair."""

    status = VmaStatus.ANON_SHARED | VmaStatus.SYSVIPC
    private_pages = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.shared and mapping.path.startswith("/SYSV")

    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterator[str]:
        yield from unsupported_flags(mapping)
        if proc.namespace_inode(task.pid, "ipc") == proc.namespace_inode("self", "ipc"):
            yield (
                "is a System V segment of the host's ipc namespace, which others can use: "
                "run the task in an ipc namespace of its own"
            )

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        entry.flags |= mman.MAP_ANONYMOUS
        entry.shmid = mapping.inode
        entry.fdflags = os.O_RDWR if "mw" in mapping.flags else os.O_RDONLY

    @classmethod
    def finish(cls, program: Program, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> None:
        pieces = _pieces(entry, task)
        if pieces[0].start != entry.start:
            return  # done with the first piece
        size = _size(entry.shmid, task, context)
        place = _free_place(size, task, context)
        program.call("shmat", entry.shmid, place, _flags(pieces), note=f"System V segment {entry.shmid}")
        for piece in pieces:
            length = piece.end - piece.start
            move = MREMAP_MAYMOVE | MREMAP_FIXED
            program.call("mremap", place + piece.pgoff, length, length, move, piece.start)
            program.call("mprotect", piece.start, length, piece.prot)
        program.call("munmap", place, size, note="the parts that were unmapped")


def _pieces(entry: m.vma_entry, task: RestoreTask) -> list[m.vma_entry]:
    """The mappings that belong to the same attachment: of the same segment, counted from the same address."""
    vmas = task.mm.vmas if task.mm is not None else []
    base = entry.start - entry.pgoff
    same = [v for v in vmas if v.status & VmaStatus.SYSVIPC and v.shmid == entry.shmid and v.start - v.pgoff == base]
    return sorted(same, key=lambda vma: vma.start)


def _flags(pieces: list[m.vma_entry]) -> int:
    writable = any(vma.fdflags & os.O_RDWR if vma.HasField("fdflags") else vma.prot & mman.PROT_WRITE for vma in pieces)
    executable = any(vma.prot & mman.PROT_EXEC for vma in pieces)
    return (0 if writable else sysvipc.SHM_RDONLY) | (sysvipc.SHM_EXEC if executable else 0)


def _size(shmid: int, task: RestoreTask, context: RestoreContext) -> int:
    """Length of the whole segment's mapping."""
    ns_id = task.ids.ipc_ns_id if task.ids is not None else 0
    sizes = context.once(("segment sizes", ns_id), lambda: _sizes(ns_id, context))
    if shmid not in sizes:
        raise BadImages(f"{task} has System V segment {shmid} attached, which ipcns-shm-{ns_id}.img lacks")
    return sizes[shmid]


def _sizes(ns_id: int, context: RestoreContext) -> dict[int, int]:
    found = {}
    for entry in context.images.read("ipcns-shm", ns_id):
        page = 1 << (entry.hugetlb_flag >> sysvipc.HUGE_SHIFT & 0x3F) if entry.hugetlb_flag else PAGE
        found[entry.desc.id] = -(-entry.size // page) * page
    return found


def _free_place(size: int, task: RestoreTask, context: RestoreContext) -> int:
    """An address where the task has nothing, nor our scratch memory."""
    scratch = context.foothold
    taken = [(scratch.address, scratch.address + scratch.size)]
    taken += [(vma.start, vma.end) for vma in (task.mm.vmas if task.mm is not None else [])]
    position = LOWEST
    for start, end in sorted(taken):
        position = -(-position // ALIGNMENT) * ALIGNMENT
        if start - position >= size:
            return position
        position = max(position, end)
    raise BadImages(f"{task} has no {size} bytes of address space free to attach a System V segment in")
