"""System V semaphore sets (semget(2))."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cr.contract import sysv
from cr.kernel import sysvipc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext


def dump(ns_id: int, context: DumpContext) -> None:
    """All sets of the ipc namespace that this thread is in."""
    from images import messages as m

    with context.images.writer("ipcns-sem", ns_id) as image:
        for row in sysvipc.rows("sem"):
            entry = m.ipc_sem_entry(desc=sysv.describe(row, "semid", context), nsems=row["nsems"])
            image.add(entry, sysvipc.sem_values(row["semid"], row["nsems"]))


def restore(ns_id: int, context: RestoreContext) -> None:
    for entry, payload in sysv.entries("ipcns-sem", ns_id, context):
        desc = entry.desc
        sysv.make("sem", desc, partial(sysvipc.semget, desc.key, entry.nsems), context)
        sysvipc.set_sem_values(desc.id, payload.bytes())
        sysvipc.sem_own(desc.id, sysv.owner(desc, context))
