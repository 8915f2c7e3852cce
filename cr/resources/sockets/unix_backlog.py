"""Connections that wait to be accepted and carry data already, or whose clients are gone.

Their data can be seen by accepting them only, which cannot be taken back: so that is the last thing before the
tasks are killed, when the images are complete; a dump that lets the tasks run on refuses.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

from cr import log
from cr.contract.acting import Actor
from cr.contract.network import network_of_socket
from cr.kernel import sock_diag
from cr.resources.sockets.unix_queue import LARGEST, Packet, inside, peeking
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_CREDENTIALS = struct.Struct("<iII")
_CONTROL = socket.CMSG_SPACE(4 * 253) + socket.CMSG_SPACE(12)
_PATIENCE = 1000  # milliseconds for a connection that is known to be there


@dataclass
class Backlogs:
    """The listening sockets to be looked into: our descriptor, file id, number of connections; clients by inode."""

    listeners: list[tuple[int, int, int]] = field(default_factory=list)
    clients: dict[int, int] = field(default_factory=dict)


def keep_backlog(listener: OpenFile, count: int, clients: dict[int, int], context: DumpContext) -> None:
    """Look into this socket when the tasks are to be killed; `clients` are file ids by inode."""
    known = context.once(keep_backlog, Backlogs)
    if not known.listeners:
        context.at_kill.append(partial(_drain_all, known, context))
    known.listeners.append((os.dup(listener.local), listener.id, count))
    known.clients.update(clients)


def _drain_all(known: Backlogs, context: DumpContext) -> None:
    with context.images.writer("woodfrog-sk-backlog") as image:
        for fd, file_id, count in known.listeners:
            with socket.socket(fileno=fd) as listening:
                for entry in _drain(listening, file_id, count, known, context):
                    image.add(entry)


def _drain(
    listening: socket.socket, file_id: int, count: int, known: Backlogs, context: DumpContext
) -> list[m.woodfrog_sk_backlog]:
    from images import messages as m

    found: list[m.woodfrog_sk_backlog] = []
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    while len(found) < count and poll.poll(_PATIENCE):
        accepted, _ = listening.accept()
        with accepted:
            entry = m.woodfrog_sk_backlog(listener=file_id)
            with network_of_socket(accepted.fileno()):
                peer = sock_diag.unix_socket(os.fstat(accepted.fileno()).st_ino).peer
            if peer in known.clients:
                entry.client = known.clients[peer]
            credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _set(entry.maker, credentials, context)
            _add_packets(entry, accepted, context)
        found.append(entry)
    return found


def _set(entry: m.woodfrog_peer_credentials, raw: bytes, context: DumpContext) -> None:
    pid, entry.uid, entry.gid = _CREDENTIALS.unpack(raw)
    entry.pid = inside(pid, context)


def _add_packets(entry: m.woodfrog_sk_backlog, sock: socket.socket, context: DumpContext) -> None:
    flags = socket.MSG_PEEK | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    with peeking(sock):
        while True:
            try:
                data, control, _, _ = sock.recvmsg(LARGEST, _CONTROL, flags)
            except BlockingIOError:
                return
            if not data:
                return
            packet = entry.packet.add(data=data)
            for level, kind, content in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    _set(packet.sender, content, context)
                elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    log.warning("descriptors sent over a unix connection that was not accepted yet are lost")
                    _close_all(content)


def _close_all(content: bytes) -> None:
    for (fd,) in struct.iter_unpack("<i", content[: len(content) & ~3]):
        os.close(fd)


@dataclass
class Waiting:
    """A connection to be made again: ids of both ends (client 0: it is gone), who connects, what was sent."""

    listener: int
    client: int
    maker: Actor | None
    packets: list[Packet]


def read_backlog(context: RestoreContext) -> list[Waiting]:
    """In the order in which they wait."""
    if not context.images.exists("woodfrog-sk-backlog"):
        return []
    return [
        Waiting(entry.listener, entry.client, _actor(entry.maker), [_packet(packet) for packet in entry.packet])
        for entry in context.images.read("woodfrog-sk-backlog")
    ]


def _actor(entry: m.woodfrog_peer_credentials) -> Actor | None:
    return Actor(entry.pid, entry.uid, entry.gid) if entry.pid else None


def _packet(entry: m.woodfrog_sk_waiting) -> Packet:
    sender = entry.sender
    return Packet(entry.data, sender=(sender.pid, sender.uid, sender.gid) if entry.HasField("sender") else None)
