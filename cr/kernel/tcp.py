"""TCP connections taken apart and put together again (TCP_REPAIR), and segments made by hand.

Sources: linux/tcp.h; tcp(7); RFC 9293 for the layout of a segment.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from cr.kernel.sockets import SIOCOUTQ
from cr.values import dataclass

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ, TCP_REPAIR_OPTIONS = 19, 20, 21, 22
TCP_TIMESTAMP, TCP_REPAIR_WINDOW, TCP_ULP = 24, 29, 31
REPAIR_ON, REPAIR_OFF, REPAIR_OFF_QUIETLY = 1, 0, -1
NO_QUEUE, RECV_QUEUE, SEND_QUEUE = 0, 1, 2
SIOCINQ, SIOCOUTQNSD = 0x541B, 0x894B

OPTION_TIMESTAMPS, OPTION_SACK, OPTION_WSCALE = 1, 2, 4
"""Bits of tcpi_options."""
_KIND_MSS, _KIND_WSCALE, _KIND_SACK, _KIND_TIMESTAMP = 2, 3, 4, 8

FIN, SYN, RST, ACK = 1, 2, 4, 16
WORD = 0xFFFFFFFF
_SOL = socket.IPPROTO_TCP
_WINDOW = struct.Struct("<5I")


@dataclass(frozen=True)
class Info:
    """The part of struct tcp_info that describes a connection's agreement; for a listening socket `unacked` is
    the number of connections that wait to be accepted, `sacked` the backlog."""

    state: int
    options: int
    send_scale: int
    receive_scale: int
    unacked: int
    sacked: int


def info(sock: socket.socket) -> Info:
    raw = sock.getsockopt(_SOL, socket.TCP_INFO, 104)
    state, _ca, _retransmits, _probes, _backoff, options, scales, _flags = raw[:8]
    unacked, sacked = struct.unpack_from("<II", raw, 24)
    return Info(state, options, scales & 15, scales >> 4, unacked, sacked)


def upper_layer(sock: socket.socket) -> str:
    """The protocol that the kernel speaks on top of a connection (TCP_ULP: tls, ...), "" for none."""
    try:
        return sock.getsockopt(_SOL, TCP_ULP, 16).rstrip(b"\0").decode()
    except OSError:
        return ""


@contextmanager
def repair(sock: socket.socket) -> Iterator[None]:
    """Inside the block the connection is silent and open to repair; the address' reuse is as it was afterwards."""
    reuse = sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    sock.setsockopt(_SOL, TCP_REPAIR, REPAIR_ON)
    try:
        yield
    finally:
        sock.setsockopt(_SOL, TCP_REPAIR, REPAIR_OFF_QUIETLY)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)


def select_queue(sock: socket.socket, queue: int) -> None:
    sock.setsockopt(_SOL, TCP_REPAIR_QUEUE, queue)


def sequence(sock: socket.socket, queue: int) -> int:
    """Sequence number behind the queue's last byte (and FIN)."""
    select_queue(sock, queue)
    return sock.getsockopt(_SOL, TCP_QUEUE_SEQ) & WORD


def set_sequence(sock: socket.socket, queue: int, number: int) -> None:
    """Where the queue begins; of a socket that is not connected yet."""
    select_queue(sock, queue)
    sock.setsockopt(_SOL, TCP_QUEUE_SEQ, struct.pack("<I", number & WORD))


def peek(sock: socket.socket, queue: int, size: int) -> bytes:
    """The first `size` bytes of a queue, which stay in it."""
    if not size:
        return b""
    select_queue(sock, queue)
    found = sock.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    if len(found) != size:
        raise OSError(errno.EMSGSIZE, f"only {len(found)} of {size} bytes of a TCP queue can be seen (urgent data?)")
    return found


def received(fd: int) -> int:
    """Bytes that wait to be read."""
    return _amount(fd, SIOCINQ)


def unacknowledged(fd: int) -> int:
    """Bytes of the send queue that the peer has not acknowledged, a FIN counts as one."""
    return _amount(fd, SIOCOUTQ)


def unsent(fd: int) -> int:
    """Bytes of the send queue that were not sent yet, a FIN counts as one."""
    return _amount(fd, SIOCOUTQNSD)


def _amount(fd: int, request: int) -> int:
    value: int = struct.unpack("i", fcntl.ioctl(fd, request, bytes(4)))[0]
    return value


@dataclass(frozen=True)
class Window:
    """struct tcp_repair_window."""

    snd_wl1: int
    snd_wnd: int
    max_window: int
    rcv_wnd: int
    rcv_wup: int


def window(sock: socket.socket) -> Window:
    return Window(*_WINDOW.unpack(sock.getsockopt(_SOL, TCP_REPAIR_WINDOW, _WINDOW.size)))


def set_window(sock: socket.socket, w: Window) -> None:
    packed = _WINDOW.pack(w.snd_wl1 & WORD, w.snd_wnd, w.max_window, w.rcv_wnd, w.rcv_wup & WORD)
    sock.setsockopt(_SOL, TCP_REPAIR_WINDOW, packed)


def set_options(sock: socket.socket, options: int, mss: int, send_scale: int, receive_scale: int) -> None:
    """What the two ends agreed on in the handshake (TCP_REPAIR_OPTIONS)."""
    wanted = [(_KIND_MSS, mss)]
    if options & OPTION_TIMESTAMPS:
        wanted.append((_KIND_TIMESTAMP, 0))
    if options & OPTION_SACK:
        wanted.append((_KIND_SACK, 0))
    if options & OPTION_WSCALE:
        wanted.append((_KIND_WSCALE, send_scale | receive_scale << 16))
    packed = b"".join(struct.pack("<II", kind, value) for kind, value in wanted)
    sock.setsockopt(_SOL, TCP_REPAIR_OPTIONS, packed)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(word for (word,) in struct.iter_unpack(">H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Segment:
    """A TCP segment without data; addresses are packed, of 4 or 16 bytes."""

    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    seq: int
    ack: int
    flags: int
    window: int = 0

    def packet(self) -> bytes:
        """The whole IP packet."""
        length = 20
        ports = (self.source[1], self.destination[1])
        head = struct.pack(
            ">HHIIBBHHH", *ports, self.seq & WORD, self.ack & WORD, 5 << 4, self.flags, min(self.window, 0xFFFF), 0, 0
        )
        ends = self.source[0] + self.destination[0]
        pseudo = ends + (struct.pack(">BBH", 0, 6, length) if len(ends) == 8 else struct.pack(">IHBB", length, 0, 0, 6))
        segment = head[:16] + struct.pack(">H", checksum(pseudo + head)) + head[18:]
        return self._ip_header(length) + segment

    def _ip_header(self, length: int) -> bytes:
        if len(self.source[0]) == 4:
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 6, 0)
        else:
            head = struct.pack(">IHBB", 6 << 28, length, 6, 64)
        return head + self.source[0] + self.destination[0]


def inject(segment: Segment, mark: int) -> None:
    """Let a segment arrive at a socket of this network namespace as if its peer had sent it.

    `mark` is the packet mark with which it passes a network lock.
    """
    destination = segment.destination[0]
    family, level, option = (socket.AF_INET, socket.IPPROTO_IP, socket.IP_HDRINCL)
    if len(destination) == 16:
        family, level, option = (socket.AF_INET6, socket.IPPROTO_IPV6, 36)  # IPV6_HDRINCL
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        raw.setsockopt(level, option, 1)
        raw.sendto(segment.packet(), (socket.inet_ntop(family, destination), 0))
