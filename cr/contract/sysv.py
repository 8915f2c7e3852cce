"""What System V segments, semaphores and queues have in common: owner, key, and an id that is to be had again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from cr.contract import idmaps
from cr.kernel import proc, sysvipc
from cr.kernel.ids import acting_as
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m
    from images.payload import Payload


def describe(row: sysvipc.Row, id_column: str, context: DumpContext) -> m.ipc_desc_entry:
    """The description of one object, its ids as the tasks see them."""
    from images import messages as m

    uids, gids = idmaps.uids(context), idmaps.gids(context)
    return m.ipc_desc_entry(
        key=row["key"] & 0xFFFFFFFF,
        uid=uids.inside(row["uid"]),
        gid=gids.inside(row["gid"]),
        cuid=uids.inside(row["cuid"]),
        cgid=gids.inside(row["cgid"]),
        mode=row["perms"],
        id=row[id_column],
    )


def entries(image: str, ns_id: int, context: RestoreContext) -> Iterator[tuple[Any, Payload]]:
    """Objects of an image with their payloads; criu writes none where there are no objects."""
    return context.images.reader(image, ns_id) if context.images.exists(image, ns_id) else iter(())


def make(kind: str, desc: m.ipc_desc_entry, get: Callable[[int], int], context: RestoreContext) -> None:
    """Make an object of a kind (shm, sem, msg) by `get(flags)`, under its old id, by its old creator."""
    proc.write_file(f"/proc/sys/kernel/{kind}_next_id", str(desc.id))
    creator = idmaps.uids(context).outside(desc.cuid), idmaps.gids(context).outside(desc.cgid)
    try:
        with acting_as(*creator):
            found = get(sysvipc.IPC_CREAT | sysvipc.IPC_EXCL | desc.mode & sysvipc.MODE_BITS)
    except OSError as error:
        raise CheckpointError(f"cannot make System V {kind} {desc.id} (key {desc.key:#x}): {error}") from error
    if found != desc.id:
        raise CheckpointError(f"System V {kind} {desc.id} (key {desc.key:#x}) came back with the id {found}")


def owner(desc: m.ipc_desc_entry, context: RestoreContext) -> sysvipc.Owner:
    """Owner and mode as the kernel takes them from us."""
    uid, gid = idmaps.uids(context).outside(desc.uid), idmaps.gids(context).outside(desc.gid)
    return sysvipc.Owner(uid, gid, desc.mode)
