"""What is queued in unix sockets: data, its boundaries, descriptors and credentials on their way."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cr.kernel.sockets import RCV_SHUTDOWN, SO_PASSPIDFD, SO_PEEK_OFF, get_optional, lent
from cr.model import CheckpointError
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from cr.kernel.sock_diag import UnixFacts
    from images import messages as m

LARGEST = 8 << 20
_CONTROL = socket.CMSG_SPACE(4 * 253) + socket.CMSG_SPACE(12) + socket.CMSG_SPACE(256)
_CREDENTIALS = struct.Struct("<iII")
_SOL = socket.SOL_SOCKET


@dataclass
class Packet:
    """One packet, or as much of a stream as stands between two boundaries.

    `rights` are ids of files on their way, `sender` is (pid in the root task's namespace, uid, gid) or None where
    no credentials are attached, `name` is that of the socket that a datagram came from.
    """

    data: bytes
    rights: list[int] = field(default_factory=list)
    sender: tuple[int, int, int] | None = None
    name: bytes = b""


def read_queue(file: OpenFile, facts: UnixFacts, context: DumpContext) -> list[Packet]:
    """Everything that waits to be read, without taking it out."""
    ended = bool(facts.shutdown & RCV_SHUTDOWN)
    with lent(file.local) as sock, peeking(sock):
        return list(_peek_all(sock, ended, file, context))


@contextmanager
def peeking(sock: socket.socket) -> Iterator[None]:
    """Inside the block MSG_PEEK goes forward, and shows credentials."""
    before = [(option, get_optional(sock, _SOL, option)) for option in (SO_PEEK_OFF, socket.SO_PASSCRED, SO_PASSPIDFD)]
    try:
        for option, value in ((SO_PASSPIDFD, 0), (socket.SO_PASSCRED, 1), (SO_PEEK_OFF, 0)):
            if get_optional(sock, _SOL, option) not in (None, value):
                sock.setsockopt(_SOL, option, value)
        yield
    finally:
        for option, old in before:
            if old is not None and sock.getsockopt(_SOL, option) != old:
                sock.setsockopt(_SOL, option, old)


def _peek_all(sock: socket.socket, ended: bool, file: OpenFile, context: DumpContext) -> Iterator[Packet]:
    flags = socket.MSG_PEEK | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    while True:
        try:
            data, control, seen, address = sock.recvmsg(LARGEST, _CONTROL, flags)
        except BlockingIOError:
            return
        if not data and (ended or sock.type == socket.SOCK_STREAM):
            return
        if seen & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            context.refuse(f"{file} holds a packet of more than {LARGEST} bytes")
            return
        packet = _packet(data, control, context)
        packet.name = os.fsencode(address) if address else b""
        yield packet


def _packet(data: bytes, control: list[tuple[int, int, bytes]], context: DumpContext) -> Packet:
    packet = Packet(data)
    for level, kind, content in control:
        if (level, kind) == (_SOL, socket.SCM_RIGHTS):
            held = array.array("i", content[: len(content) & ~3])
            packet.rights = [context.files.add_held(fd) for fd in held]
        elif (level, kind) == (_SOL, socket.SCM_CREDENTIALS):
            pid, uid, gid = _CREDENTIALS.unpack(content)
            packet.sender = (inside(pid, context), uid, gid) if pid else None
    return packet


def inside(pid: int, context: DumpContext) -> int:
    """A pid of ours as the root task sees it, 0 where it cannot be known any more."""
    for task in context.tasks:
        if task.pid == pid:
            return task.vpid
    return 0


def write_queues(packets: list[tuple[int, Packet]], context: DumpContext) -> None:
    """sk-queues.img, and beside it who sent what."""
    from images import messages as m

    if not packets:
        return
    with context.images.writer("sk-queues") as image:
        for file_id, packet in packets:
            entry = m.sk_packet_entry(id_for=file_id, length=len(packet.data))
            if packet.rights:
                entry.scm.add(type=socket.SCM_RIGHTS, rights=packet.rights)
            image.add(entry, packet.data)
    if any(packet.sender or packet.name for _, packet in packets):
        context.images.write("woodfrog-sk-senders", entries=(_sender(packet) for _, packet in packets))


def _sender(packet: Packet) -> m.woodfrog_sk_sender:
    from images import messages as m

    entry = m.woodfrog_sk_sender()
    if packet.sender is not None:
        entry.pid, entry.uid, entry.gid = packet.sender
    if packet.name:
        entry.name = packet.name
    return entry


def read_queues(context: RestoreContext) -> dict[int, list[Packet]]:
    """Socket id -> its packets, in order."""
    queues: dict[int, list[Packet]] = {}
    if not context.images.exists("sk-queues"):
        return queues
    senders = context.images.read("woodfrog-sk-senders") if context.images.exists("woodfrog-sk-senders") else []
    for index, (entry, payload) in enumerate(context.images.reader("sk-queues")):
        packet = Packet(payload.bytes())
        packet.rights = [id for scm in entry.scm if scm.type == socket.SCM_RIGHTS for id in scm.rights]
        if index < len(senders):
            sender = senders[index]
            packet.name = sender.name
            packet.sender = (sender.pid, sender.uid, sender.gid) if sender.HasField("pid") else None
        queues.setdefault(entry.id_for, []).append(packet)
    return queues


def send(sender: int, packet: Packet, address: bytes | str | None, context: RestoreContext) -> None:
    """Send a packet again from our descriptor `sender`; `address` is where to, None for its peer."""
    control: list[tuple[int, int, array.array[int] | bytes]] = []
    if packet.rights:
        control.append((_SOL, socket.SCM_RIGHTS, array.array("i", [context.file(id) for id in packet.rights])))
    if packet.sender is not None:
        pid = _outside(packet.sender[0], context)
        control.append((_SOL, socket.SCM_CREDENTIALS, _CREDENTIALS.pack(pid, *packet.sender[1:])))
    with lent(sender) as sock:
        view = memoryview(packet.data)
        while True:
            sent = _send(sock, view, control, address)
            view, control = view[sent:], []
            if not view:
                return


def _send(
    sock: socket.socket, data: memoryview, control: list[tuple[int, int, array.array[int] | bytes]], address: object
) -> int:
    try:
        arguments = (address,) if address is not None else ()
        return sock.sendmsg([data], control, socket.MSG_DONTWAIT, *arguments)
    except BlockingIOError as error:
        raise CheckpointError(
            "a unix socket holds more data than can be put back: raise net.core.wmem_max and net.unix.max_dgram_qlen"
        ) from error


def _outside(vpid: int, context: RestoreContext) -> int:
    """Our pid of a task to be; our own for a sender that is gone."""
    for task in context.tasks:
        if task.vpid == vpid and task.leader.tracee is not None:
            return task.leader.tracee.tid
    return os.getpid()
