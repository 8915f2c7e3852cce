"""All unix sockets of a restore, made together: they are connected to each other, and carry each other.

In this order: sockets with their names, connections, queued data, one-way connections of datagram sockets
(only the peer of a connected socket may send to it), what waits to be accepted, shutdown, options.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from cr.contract import plugins
from cr.contract.acting import Actor
from cr.contract.outside_files import inherited_copy
from cr.contract.socket_extras import restore_extras
from cr.contract.socket_options import restore_options, restore_status
from cr.contract.unix_peers import peer_of
from cr.kernel.sockets import ESTABLISHED, LISTEN, SO_SNDBUFFORCE, disconnect, lent, set_buffer
from cr.model import BadImages, CheckpointError
from cr.resources.sockets.unix_backlog import Waiting, read_backlog
from cr.resources.sockets.unix_calls import connect, listen, pair
from cr.resources.sockets.unix_names import bind, is_abstract, take_name
from cr.resources.sockets.unix_queue import Packet, read_queues, send
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from images import messages as m

EXTERNAL, SERVICE = 1, 2  # bits of unix_sk_entry.uflags
_PLENTY = 1 << 28  # bytes of send buffer while queues are filled


@dataclass
class UnixFamily:
    """The unix sockets of the images; `fds` are our descriptors by inode number of the dumped socket."""

    context: RestoreContext
    by_inode: dict[int, m.unix_sk_entry] = field(default_factory=dict)
    fds: dict[int, int] = field(default_factory=dict)
    files: dict[int, int] = field(default_factory=dict)
    """inode -> O_PATH descriptor of the file it is bound to"""
    ghosts: dict[int, int] = field(default_factory=dict)
    """inode -> our other end of a socket whose peer is gone"""
    inherited: set[int] = field(default_factory=set)
    started: bool = False

    def descriptor(self, entry: m.unix_sk_entry) -> int:
        self.build()
        return os.dup(self.fds[entry.ino])

    def build(self) -> None:
        """Make them all, at the first call."""
        if self.started:
            return
        self.started = True
        entries = [entry.usk for entry in self.context.file_entries.values() if entry.HasField("usk")]
        self.by_inode = {entry.ino: entry for entry in entries}
        entries = [entry for entry in entries if not entry.uflags & EXTERNAL]
        with self.context.network():
            self._make(entries)
            self._fill(read_queues(self.context))
            self._connect(entries)
        for entry in entries:
            self._finish(entry)
        for fd in (*self.ghosts.values(), *self.files.values()):
            os.close(fd)

    # Sockets and connections

    def _make(self, entries: list[m.unix_sk_entry]) -> None:
        for entry in entries:
            fd = inherited_copy(f"socket:[{entry.ino}]", self.context)
            if fd is None:
                fd = plugins.restore("socket", entry.id, self.context)
            if fd is not None:
                self._put(entry, fd)
                self.inherited.add(entry.ino)
        for entry in entries:
            if entry.state == LISTEN:
                self._new(entry)
                listen(self.fds[entry.ino], entry.backlog, self._peer(entry), self.context)
        for entry in entries:
            self._make_connected(entry)
        for entry in entries:
            self._make_one_way(entry)
        for entry in entries:
            self._new(entry)

    def _put(self, entry: m.unix_sk_entry, fd: int) -> None:
        self.fds[entry.ino] = self.context.keep(fd)

    def _new(self, entry: m.unix_sk_entry) -> None:
        """A socket of its own, bound to its name."""
        if entry.ino in self.fds:
            return
        with self.context.network(entry.ns_id):
            self._put(entry, _socket(entry.type))
        self._bind(entry)

    def _bind(self, entry: m.unix_sk_entry) -> None:
        if entry.name:
            file = bind(self.fds[entry.ino], entry, self.context)
            if file >= 0:
                self.files[entry.ino] = file

    def _make_connected(self, entry: m.unix_sk_entry) -> None:
        """Both ends of a connection, or the one that is left of it."""
        if entry.ino in self.fds or not _is_connection(entry, self.by_inode):
            return
        peer = self.by_inode.get(entry.peer)
        if peer is not None and peer.ino in self.fds:
            raise BadImages(f"unix socket {entry.id:#x} is connected to {peer.id:#x}, which is connected elsewhere")
        server, client = self._roles(entry, peer)
        if server is None or entry.type == socket.SOCK_DGRAM:
            ends = pair(entry.type, self._peer(entry) or self._peer(peer), self.context)
            self._keep_end(entry, entry.ino, ends[0])
            self._keep_end(peer, entry.ino, ends[1])
            for end in (entry, peer):
                if end is not None:
                    self._bind(end)
            return
        self._accept(server, client, entry.ino)

    def _make_one_way(self, entry: m.unix_sk_entry) -> None:
        """A datagram socket connected to one without a name that is not, or no longer, connected to it."""
        peer = self.by_inode.get(entry.peer)
        if peer is None or entry.type != socket.SOCK_DGRAM or peer.name or {entry.ino, peer.ino} & self.fds.keys():
            return
        ends = pair(entry.type, self._peer(entry), self.context)
        self._put(entry, ends[0])
        self._put(peer, ends[1])
        disconnect(ends[1])
        self._bind(entry)

    def _keep_end(self, entry: m.unix_sk_entry | None, other: int, fd: int) -> None:
        if entry is None:
            self.ghosts[other] = fd
        else:
            self._put(entry, fd)

    def _roles(
        self, entry: m.unix_sk_entry, peer: m.unix_sk_entry | None
    ) -> tuple[m.unix_sk_entry | None, m.unix_sk_entry | None]:
        """Which end was accepted: it has the name of the listening socket; (None, ...) for a mere pair."""
        ends = [(entry, peer), *([(peer, entry)] if peer is not None else [])]
        for end, other in ends:
            if end is not None and end.name and self._listener(end) is not None:
                return end, other
        for end, other in ends:
            if end is not None and end.name:
                return end, other
        return None, None

    def _peer(self, entry: m.unix_sk_entry | None) -> Actor | None:
        return None if entry is None else peer_of(entry.id, self.context)

    def _listener(self, entry: m.unix_sk_entry) -> m.unix_sk_entry | None:
        for other in self.by_inode.values():
            if other.state == LISTEN and not other.uflags & EXTERNAL and _same_name(other, entry):
                return other
        return None

    def _accept(self, server: m.unix_sk_entry, client: m.unix_sk_entry | None, inode: int) -> None:
        """Connect to the listening socket, or to one made for the purpose, and accept."""
        listener = self._listener(server)
        listening = self.fds[listener.ino] if listener is not None else _socket(server.type)
        file = self.files.get(listener.ino, -1) if listener is not None else bind(listening, server, self.context)
        connecting = _socket(server.type)
        self._keep_end(client, inode, connecting)
        if client is not None:
            self._bind(client)
        if listener is None:
            listen(listening, 1, self._peer(client), self.context)
        connect(connecting, _address(server, file), self._peer(server), self.context)
        with lent(listening) as accepting:
            accepted, _ = accepting.accept()
        self._put(server, accepted.detach())
        if listener is None:
            os.close(listening)
            if file >= 0:
                os.close(file)

    # Data

    def _fill(self, queues: dict[int, list[Packet]]) -> None:
        by_id = {entry.id: entry for entry in self.by_inode.values()}
        for fd in (*self.fds.values(), *self.ghosts.values()):
            with lent(fd) as sock:
                set_buffer(sock, SO_SNDBUFFORCE, _PLENTY)
        for file_id, packets in queues.items():
            entry = by_id.get(file_id)
            if entry is None:
                raise BadImages(f"sk-queues.img has data for socket {file_id:#x}, which files.img does not have")
            if entry.ino not in self.inherited:
                for packet in packets:
                    self._refill(entry, packet)
        for inode in self.ghosts:
            if self.by_inode[inode].uflags & SERVICE:
                os.write(self.ghosts[inode], restored_answer())

    def _refill(self, entry: m.unix_sk_entry, packet: Packet) -> None:
        peer = self.by_inode.get(entry.peer)
        if entry.ino in self.ghosts:
            send(self.ghosts[entry.ino], packet, None, self.context)
        elif peer is not None and peer.peer == entry.ino and _connected(self.fds[peer.ino]):
            send(self.fds[peer.ino], packet, None, self.context)
        else:
            sender = self._sender(packet) or self.context.once(
                ("stranger", packet.name), lambda: self._stranger(packet.name)
            )
            send(sender, packet, _address(entry, self.files.get(entry.ino, -1)), self.context)

    def _sender(self, packet: Packet) -> int | None:
        """The socket that a datagram came from, where it is still there under its name."""
        for entry in self.by_inode.values():
            if (
                packet.name
                and entry.type == socket.SOCK_DGRAM
                and entry.name.rstrip(b"\0") == packet.name.rstrip(b"\0")
            ):
                return self.fds.get(entry.ino)
        return None

    def _stranger(self, name: bytes) -> int:
        """A socket in place of a sender that is gone; it has the name, unless somebody else has taken that."""
        fd = self.context.keep(_socket(socket.SOCK_DGRAM))
        with lent(fd) as sock:
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, _PLENTY)
        if name:
            take_name(fd, name)
        return fd

    # One-way and waiting connections

    def _connect(self, entries: list[m.unix_sk_entry]) -> None:
        by_id = {entry.id: entry for entry in self.by_inode.values()}
        for waiting in read_backlog(self.context):
            if waiting.listener not in by_id or (waiting.client and waiting.client not in by_id):
                raise BadImages("woodfrog-sk-backlog.img tells of a socket that files.img does not have")
            self._connect_again(by_id[waiting.listener], by_id.get(waiting.client), waiting)
        for entry in sorted(entries, key=lambda entry: entry.ino):
            peer = self.by_inode.get(entry.peer)
            if entry.ino in self.inherited or not entry.peer or _connected(self.fds[entry.ino]):
                continue
            if peer is None:
                raise BadImages(f"unix socket {entry.id:#x} is connected to inode {entry.peer}, which the images lack")
            self._connect_one(entry, peer)

    def _connect_again(self, listener: m.unix_sk_entry, client: m.unix_sk_entry | None, waiting: Waiting) -> None:
        """A connection that waits to be accepted, with what was sent over it; its client may be gone."""
        fd = self.fds[client.ino] if client is not None else _socket(listener.type)
        try:
            with lent(fd) as sock:
                sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, _PLENTY)
            self._connect_fd(fd, listener, _address(listener, self.files.get(listener.ino, -1)), waiting.maker)
            for packet in waiting.packets:
                send(fd, packet, None, self.context)
        finally:
            if client is None:
                os.close(fd)

    def _connect_one(self, entry: m.unix_sk_entry, peer: m.unix_sk_entry) -> None:
        address = self._external_address(entry, peer) if peer.uflags & EXTERNAL else None
        if address is None:
            address = _address(peer, self.files.get(peer.ino, -1))
        self._connect_fd(self.fds[entry.ino], peer, address, self._holder(entry))

    def _connect_fd(self, fd: int, peer: m.unix_sk_entry, address: bytes | str, who: Actor | None) -> None:
        os.set_blocking(fd, False)  # a full backlog is an error, nobody is there to accept
        try:
            connect(fd, address, who, self.context)
        except OSError as error:
            shown = os.fsdecode(peer.name.rstrip(b"\0")).replace("\0", "@")
            raise CheckpointError(f"cannot connect a unix socket to {shown}: {error.strerror}") from error

    def _holder(self, entry: m.unix_sk_entry) -> Actor | None:
        """Who has a connection that waits to be accepted: most likely who asked for it."""
        for task in self.context.live_tasks:
            if entry.type != socket.SOCK_DGRAM and any(slot.id == entry.id for slot in task.fds):
                creds = task.core.thread_core.creds
                return Actor(task.vpid, creds.euid, creds.egid)
        return None

    def _external_address(self, entry: m.unix_sk_entry, peer: m.unix_sk_entry) -> bytes | str:
        if not peer.name:
            raise CheckpointError(
                f"unix socket {entry.id:#x} was connected to a socket outside of the tree that has no name: "
                f"give it back with --inherit-fd fd[N]:socket:[{entry.ino}]"
            )
        if is_abstract(peer.name):
            return peer.name
        file = self.context.open(os.fsdecode(peer.name.rstrip(b"\0")), os.O_PATH)
        return f"/proc/self/fd/{self.context.keep(file)}"

    # The rest

    def _finish(self, entry: m.unix_sk_entry) -> None:
        fd = self.fds[entry.ino]
        if entry.ino in self.inherited:
            return
        if entry.shutdown and entry.ino not in self.ghosts:
            with lent(fd) as sock:
                sock.shutdown(entry.shutdown - 1)
        restore_options(fd, entry.opts)
        restore_extras(fd, entry.id, self.context)
        restore_status(fd, entry.flags, entry.fown, self.context)


def restored_answer() -> bytes:
    """What a task that asked to be dumped itself reads in its second life."""
    from images import messages as m

    answer = m.criu_resp(type=m.criu_req_type.DUMP, success=True)
    answer.dump.restored = True
    return answer.SerializeToString()


def _socket(kind: int) -> int:
    return socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC).detach()


def _is_connection(entry: m.unix_sk_entry, by_inode: dict[int, m.unix_sk_entry]) -> bool:
    """Whether both ends are to be made at once: a pair, an accepted connection, or what is left of one."""
    if entry.state != ESTABLISHED:
        return False
    peer = by_inode.get(entry.peer)
    if peer is not None and not peer.uflags & EXTERNAL:
        return peer.peer == entry.ino and not (entry.type == socket.SOCK_DGRAM and entry.name and peer.name)
    if peer is not None and peer.name:
        return False
    return entry.type != socket.SOCK_DGRAM or peer is not None or not entry.name


def _same_name(one: m.unix_sk_entry, other: m.unix_sk_entry) -> bool:
    return (one.type, one.name, one.name_dir, one.deleted) == (other.type, other.name, other.name_dir, other.deleted)


def _address(entry: m.unix_sk_entry, file: int) -> bytes | str:
    """Where to reach our new socket."""
    if is_abstract(entry.name):
        return entry.name
    if file < 0:
        raise CheckpointError(f"unix socket {entry.id:#x} has no name by which others could be connected to it again")
    return f"/proc/self/fd/{file}"


def _connected(fd: int) -> bool:
    with lent(fd) as sock:
        try:
            sock.getpeername()
        except OSError:
            return False
        return True
