"""Datagrams that wait in UDP sockets: seen without taking them out, and made to arrive again."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cr import log
from cr.contract.identity import identity
from cr.contract.socket_extras import extras_of, known_extras
from cr.kernel import udp
from cr.kernel.sockets import RCV_SHUTDOWN, SO_PEEK_OFF, SO_RCVBUFFORCE, get_optional
from cr.resources.sockets.tcp_rebuild import PASS_MARK

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_LARGEST = 1 << 16
_PKTINFO = {socket.AF_INET: (socket.IPPROTO_IP, 8, 8), socket.AF_INET6: (socket.IPPROTO_IPV6, 49, 50)}
"""Family -> level, the option that asks for the destination, the control message that tells it."""
_MAPPED = bytes(10) + b"\xff\xff"
_LEAST_ROOM = 1 << 20


def dump_datagrams(file_id: int, sock: socket.socket, context: DumpContext) -> None:
    """Note what waits to be read.  An error that waits to be told would be taken out by looking: it keeps us away."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if [event for _, event in poll.poll(0)] != [select.POLLIN]:
        return
    with _peeking(sock):
        for data, source, port, destination in _peek_all(sock):
            extras_of(file_id, context).datagram.add(
                source=source, source_port=port, destination=destination, data=data
            )


@contextmanager
def _peeking(sock: socket.socket) -> Iterator[None]:
    """Inside the block MSG_PEEK goes forward, and shows where a datagram went to."""
    level, option, _ = _PKTINFO[sock.family]
    wanted = ((socket.SOL_SOCKET, SO_PEEK_OFF, 0), (level, option, 1))
    before = [(place, name, get_optional(sock, place, name)) for place, name, _ in wanted]
    try:
        for place, name, value in wanted:
            sock.setsockopt(place, name, value)
        yield
    finally:
        for place, name, old in before:
            if old is not None:
                sock.setsockopt(place, name, old)


def _peek_all(sock: socket.socket) -> Iterator[tuple[bytes, bytes, int, bytes]]:
    """(data, source address, source port, destination address) of each; addresses packed, IPv4 as such."""
    level, _, kind = _PKTINFO[sock.family]
    while True:
        try:
            data, control, _, name = sock.recvmsg(_LARGEST, 256, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        found = [content for place, what, content in control if (place, what) == (level, kind)]
        if name and found:
            destination = found[0][8:12] if sock.family == socket.AF_INET else found[0][:16]
            source = socket.inet_pton(sock.family, name[0].partition("%")[0])
            yield data, _plain(source), name[1], _plain(destination)


def _plain(packed: bytes) -> bytes:
    return packed[12:] if packed.startswith(_MAPPED) and len(packed) == 16 else packed


def refill(sock: socket.socket, entry: m.inet_sk_entry, context: RestoreContext) -> None:
    """Let the datagrams arrive again, in the network namespace that the caller is in."""
    extra = known_extras(entry.id, context)
    if extra is None or not extra.datagram or entry.shutdown & RCV_SHUTDOWN:
        return
    room = _LEAST_ROOM + 4 * sum(len(datagram.data) for datagram in extra.datagram)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, room)
    for datagram in extra.datagram:
        source, destination = _ends(datagram, entry, context)
        try:
            udp.inject(source, destination, datagram.data, PASS_MARK)
        except OSError as error:
            log.warning(f"a datagram in the queue of socket {entry.id:#x} is lost: {error.strerror}")


def _ends(datagram: m.woodfrog_datagram, entry: m.inet_sk_entry, context: RestoreContext) -> tuple[udp.End, udp.End]:
    """Where from and where to; what was sent to many comes to this socket only."""
    new = identity(context.options)
    source, destination = datagram.source, datagram.destination
    if new is not None:
        source, destination = new.address(source), new.address(destination)
    bound = _plain(struct.pack(f"<{len(entry.src_addr)}I", *entry.src_addr))
    if any(bound) and len(bound) == len(destination):
        destination = bound
    if _is_multicast(destination):
        destination = bytes([127, 0, 0, 1]) if len(destination) == 4 else bytes(15) + b"\1"
    return (source, datagram.source_port), (destination, entry.src_port)


def _is_multicast(packed: bytes) -> bool:
    return packed[0] == 0xFF if len(packed) == 16 else packed[0] >= 224
