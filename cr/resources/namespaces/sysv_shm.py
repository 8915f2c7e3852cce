"""System V shared memory segments (shmget(2)) with their contents."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from cr.contract import sysv
from cr.contract.shmem import dump_shmem, restore_shmem
from cr.kernel import sysvipc
from cr.kernel.map_files import open_mapping
from cr.kernel.namespaces import inside_of

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m

PAGE = os.sysconf("SC_PAGE_SIZE")


def dump(ns_id: int, context: DumpContext) -> None:
    """All segments of the ipc namespace that this thread is in."""
    from images import messages as m

    with context.images.writer("ipcns-shm", ns_id) as image:
        for row in sysvipc.rows("shm"):
            desc = sysv.describe(row, "shmid", context)
            entry = m.ipc_shm_entry(desc=desc, size=row["size"], in_pagemaps=True)
            with _attached(row["shmid"], row["size"], os.O_RDONLY) as fd:
                if huge := _huge_page_size(fd):
                    entry.hugetlb_flag = sysvipc.SHM_HUGETLB | huge.bit_length() - 1 << sysvipc.HUGE_SHIFT
                dump_shmem(context, row["shmid"], fd, os.fstat(fd).st_size)
            image.add(entry)


@contextmanager
def _attached(shmid: int, size: int, access: int) -> Iterator[int]:
    """A descriptor of the file behind a segment, which is attached to us in the block."""
    address = sysvipc.shmat(shmid, sysvipc.SHM_RDONLY if access == os.O_RDONLY else 0)
    try:
        fd = _open_attached(address, size, access)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        sysvipc.shmdt(address)


def _open_attached(address: int, size: int, access: int) -> int:
    from cr.kernel import proc

    try:
        return open_mapping(os.getpid(), address, address + -(-size // PAGE) * PAGE, access)
    except FileNotFoundError:  # of huge pages: its mapping is longer
        found = next(mapping for mapping in proc.mappings(os.getpid()) if mapping.start == address)
        return open_mapping(os.getpid(), found.start, found.end, access)


def _huge_page_size(fd: int) -> int:
    """The size of its huge pages, 0 for ordinary memory."""
    size = os.fstatvfs(fd).f_bsize
    return size if size > PAGE else 0


def restore(ns_id: int, context: RestoreContext) -> None:
    for entry, payload in sysv.entries("ipcns-shm", ns_id, context):
        desc = entry.desc
        get = partial(_get, desc.key, entry.size, entry.hugetlb_flag)
        sysv.make("shm", desc, get, context)
        with _attached(desc.id, entry.size, os.O_RDWR) as fd:
            if entry.in_pagemaps:
                restore_shmem(context, desc.id, fd)
            else:
                os.pwrite(fd, payload.bytes(), 0)
        sysvipc.shm_own(desc.id, sysv.owner(desc, context))
        _mark(desc, ns_id, context)


def _get(key: int, size: int, huge: int, flags: int) -> int:
    return sysvipc.shmget(key, size, flags | huge)


def _mark(desc: m.ipc_desc_entry, ns_id: int, context: RestoreContext) -> None:
    if desc.mode & sysvipc.SHM_LOCKED:
        sysvipc.shm_lock(desc.id)
    if desc.mode & sysvipc.SHM_DEST:  # removed already: it lives by its attachments, which are yet to come
        context.at_end.append(partial(_remove, desc.id, ns_id, context))


def _remove(shmid: int, ns_id: int, context: RestoreContext) -> None:
    with inside_of(context.first_in("ipc_ns_id", ns_id).puppet.tid, "ipc"):
        sysvipc.shm_remove(shmid)
