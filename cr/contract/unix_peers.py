"""Unix sockets with a peer, by the task that is asked who that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.acting import Actor
from cr.contract.socket_extras import known_extras

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext


def with_peer(context: DumpContext) -> dict[int, list[tuple[int, int]]]:
    """pid of a task (ours) -> (descriptor, file id) of the sockets that it is asked about."""
    return context.once(with_peer, dict)


def peer_of(file_id: int, context: RestoreContext) -> Actor | None:
    """Who is to be seen at the other end of a socket."""
    entry = known_extras(file_id, context)
    if entry is None or not entry.HasField("peer"):
        return None
    return Actor(entry.peer.pid, entry.peer.uid, entry.peer.gid)
