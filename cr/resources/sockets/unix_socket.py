"""Unix sockets (unix(7)): pairs, named and abstract ones, what is queued in them, what waits to be accepted."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from cr.contract import plugins
from cr.contract.network import network_id, network_of_socket
from cr.contract.outside import outside
from cr.contract.owner import dump_owner
from cr.contract.resource import FdResource
from cr.contract.socket_extras import dump_extras, write_extras
from cr.contract.socket_options import dump_options
from cr.contract.sockets import family_of
from cr.contract.unix_peers import with_peer
from cr.kernel import sock_diag
from cr.kernel.sockets import ESTABLISHED, LISTEN, unread_by_peer
from cr.resources.sockets.unix_backlog import keep_backlog
from cr.resources.sockets.unix_build import UnixFamily
from cr.resources.sockets.unix_names import describe_name
from cr.resources.sockets.unix_queue import Packet, read_queue, write_queues
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from cr.kernel.sock_diag import UnixFacts
    from images import messages as m

SERVICE = 2  # bit of unix_sk_entry.uflags: the task has asked us through it to be dumped, and waits for the answer
EXTERNAL = 1  # bit of unix_sk_entry.uflags: the socket is not ours, others are connected to it


@dataclass
class _Found:
    """The unix sockets met during a dump."""

    files: dict[int, OpenFile] = field(default_factory=dict)
    facts: dict[int, UnixFacts] = field(default_factory=dict)
    networks: dict[int, int] = field(default_factory=dict)
    entries: dict[int, m.unix_sk_entry] = field(default_factory=dict)
    packets: list[tuple[int, Packet]] = field(default_factory=list)


def _found(context: DumpContext) -> _Found:
    return context.once(UnixSocket, _Found)


class UnixSocket(FdResource):
    """socket(AF_UNIX, ...), socketpair(2), accept(2)."""

    type = 5
    field = "usk"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return family_of(file) == socket.AF_UNIX

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.unix_sk_entry:
        from images import messages as m

        inode, found = file.stat.st_ino, _found(context)
        with network_of_socket(file.local) as network:
            facts = sock_diag.unix_socket(inode)
            dump_extras(file, network, context)
        entry = m.unix_sk_entry(id=file.id, ino=inode, type=facts.type, state=facts.state, uflags=0)
        entry.flags = file.flags & ~os.O_CLOEXEC
        entry.backlog = facts.send_queue
        entry.peer = facts.peer or 0
        entry.fown.CopyFrom(dump_owner(file))
        entry.opts.CopyFrom(dump_options(file.local))
        describe_name(entry, facts, file, context)
        if facts.shutdown:
            entry.shutdown = facts.shutdown  # type: ignore[assignment]
        entry.ns_id = network_id(network, file, context)
        found.files[inode], found.facts[inode], found.networks[inode] = file, facts, network
        found.entries[inode] = entry
        if facts.state in (ESTABLISHED, LISTEN) and file.fd >= 0:
            with_peer(context).setdefault(file.task.pid, []).append((file.fd, file.id))
        if facts.state == ESTABLISHED or facts.type == socket.SOCK_DGRAM:
            context.files.later(lambda: _read_queue(file, facts, context))
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        found = _found(context)
        for inode, facts in found.facts.items():
            if facts.state == LISTEN:
                _note_waiting(inode, facts, found, context)
        for inode in list(found.facts):
            _check_peer(inode, found, context)
        for entry in _peers_first(found.entries):
            context.files.move_to_end(entry.id)
        write_queues(found.packets, context)
        write_extras(context)

    @classmethod
    def describe(cls, entry: m.unix_sk_entry) -> str:
        name = f" named {os.fsdecode(entry.name.rstrip(bytes(1)))!r}" if entry.name else ""
        return f"unix socket {entry.id:#x}{name}"

    @classmethod
    def make(cls, entry: m.unix_sk_entry, context: RestoreContext) -> int:
        return context.once(cls, lambda: UnixFamily(context)).descriptor(entry)

    @classmethod
    def prepare(cls, context: RestoreContext) -> None:
        if any(entry.HasField("usk") for entry in context.file_entries.values()):
            context.once(cls, lambda: UnixFamily(context)).build()


def _read_queue(file: OpenFile, facts: UnixFacts, context: DumpContext) -> None:
    for packet in read_queue(file, facts, context):
        _found(context).packets.append((file.id, packet))


def _note_waiting(inode: int, facts: UnixFacts, found: _Found, context: DumpContext) -> None:
    """Clients that listen(2) holds for accept(2): the images give them the listening socket as peer."""
    name, goes_on = describe_inode(inode, found), context.options.leave_running or context.options.leave_stopped
    special = []
    for client in facts.waiting:
        if client and client not in found.entries:
            context.refuse(
                f"a connection from outside of the tree (socket inode {client}) waits to be accepted at {name}: "
                "end that client, or let the server accept it first"
            )
            return
        if client:
            found.entries[client].peer = inode
        if client == 0:
            special.append("whose client is gone")
        elif unread_by_peer(found.files[client].local):
            special.append("with data in it")
    for what in special if goes_on else ():
        context.refuse(
            f"a connection {what} waits to be accepted at {name}, which only a dump that ends the tasks can look into: "
            "let the server accept it first"
        )
    if special and not goes_on:
        clients = {client: found.entries[client].id for client in facts.waiting if client}
        keep_backlog(found.files[inode], len(facts.waiting), clients, context)


def describe_inode(inode: int, found: _Found) -> str:
    entry = found.entries[inode]
    name = os.fsdecode(entry.name.rstrip(b"\0")).replace("\0", "@") or f"socket:[{inode}]"
    return f"{name} of {found.files[inode].task}"


def _check_peer(inode: int, found: _Found, context: DumpContext) -> None:
    """The other end must be in the tree, or be allowed to stay outside of it."""
    entry, facts = found.entries[inode], found.facts[inode]
    if entry.peer in found.entries:
        return
    if entry.peer and entry.peer == context.options.service_socket:
        entry.uflags |= SERVICE
        entry.peer = 0
        return
    connected = entry.type != socket.SOCK_DGRAM and facts.peer == 0 and facts.shutdown != 3
    if not entry.peer and not connected:
        return
    if not _may_be_external(inode, entry.peer, context) and plugins.dump("socket", found.files[inode], context):
        return
    if not _may_be_external(inode, entry.peer, context):
        context.refuse(
            f"{found.files[inode]} is connected to a unix socket outside of the tree (inode {entry.peer}): "
            f"use --ext-unix-sk, or --external unix[{entry.peer}]"
        )
    elif entry.peer:
        _add_external(entry, found, context)


def _peers_first(entries: dict[int, m.unix_sk_entry]) -> list[m.unix_sk_entry]:
    """A socket comes behind the one that it is connected to: other engines connect in this order."""
    done: dict[int, m.unix_sk_entry] = {}
    for inode in entries:
        chain: dict[int, None] = {}
        while inode in entries and inode not in done and inode not in chain:
            chain[inode] = None
            inode = entries[inode].peer
        for member in reversed(chain):
            done[member] = entries[member]
    return list(done.values())


def _may_be_external(inode: int, peer: int, context: DumpContext) -> bool:
    either = {str(inode), str(peer)}
    if either & outside(context).external["unix"].keys():
        return True
    allowed = context.options.ext_unix_sk
    return allowed is not None and (not allowed or bool(either & set(allowed.replace(" ", "").split(","))))


def _add_external(entry: m.unix_sk_entry, found: _Found, context: DumpContext) -> None:
    """A record of the socket outside: its name is where to connect to again."""
    from images import messages as m

    with network_of_socket(found.files[entry.ino].local):
        facts = sock_diag.unix_socket(entry.peer)
    outside = m.unix_sk_entry(
        id=context.files.new_id(), ino=entry.peer, type=facts.type, state=LISTEN, flags=0, uflags=EXTERNAL,
        backlog=0, peer=0, name=facts.name and facts.name.rstrip(b"\0") + b"\0" if facts.file else facts.name,
    )  # fmt: skip
    outside.fown.CopyFrom(m.fown_entry(uid=0, euid=0, signum=0, pid_type=0, pid=0))
    outside.opts.CopyFrom(
        m.sk_opts_entry(
            so_sndbuf=0, so_rcvbuf=0, so_snd_tmo_sec=0, so_snd_tmo_usec=0, so_rcv_tmo_sec=0, so_rcv_tmo_usec=0
        )
    )
    found.entries[entry.peer] = outside
    context.files.add_record(UnixSocket, outside)
