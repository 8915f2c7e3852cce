"""A TCP connection put together from its image (TCP_REPAIR), and brought to the state it was in.

`assemble` makes an established connection with the data that was received, and that was sent but not
acknowledged; nothing goes out.  `start`, when all sockets of all tasks exist, brings it to its state: what
we did is done again (shutdown), what the peer did is told to the kernel by a segment made by hand.  `wake`, and
then `speak`, come when the network is no longer locked: what is dropped is sent again only after seconds.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cr.kernel import tcp
from cr.kernel.sockets import (
    CLOSE,
    CLOSE_WAIT,
    CLOSING,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    SO_RCVBUFFORCE,
    SO_SNDBUFFORCE,
    SYN_SENT,
    lent,
)
from cr.model import CheckpointError
from cr.values import dataclass

if TYPE_CHECKING:
    from images import messages as m

PASS_MARK = 0xC114  # packets with this mark pass the network lock (netns.lock)
_SENT_FIN = frozenset({FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK})
_GOT_FIN = frozenset({CLOSE_WAIT, CLOSING, LAST_ACK})
_PIECE = 1 << 16
_LEAST_ROOM = 1 << 20


@dataclass
class Connection:
    """One connection; `fd` is ours, `received` and `sent` are its queues."""

    fd: int
    entry: m.inet_sk_entry
    stream: m.tcp_stream_entry
    received: bytes
    sent: bytes

    @property
    def state(self) -> int:
        return int(self.entry.state)

    @property
    def unacknowledged(self) -> bytes:
        """What was sent; the rest of `sent` never left."""
        return self.sent[: len(self.sent) - self.stream.unsq_len]

    @property
    def fin_unsent(self) -> bool:
        return self.state in (FIN_WAIT1, CLOSING, LAST_ACK) and self.stream.unsq_len > 0

    @property
    def receive_end(self) -> int:
        """Number of the first byte (or FIN) that follows the received data."""
        return int(self.stream.inq_seq) - (1 if self.state in _GOT_FIN else 0)

    @property
    def send_end(self) -> int:
        return int(self.stream.outq_seq) - (1 if self.state in _SENT_FIN else 0)

    def prepare_request(self, sock: socket.socket, bind: Callable[[], None], peer: Any) -> None:
        """A connection that was being asked for is asked for again with the same number."""
        sock.setsockopt(socket.IPPROTO_TCP, tcp.TCP_REPAIR, tcp.REPAIR_ON)
        bind()
        tcp.set_sequence(sock, tcp.SEND_QUEUE, self.stream.outq_seq - 1)
        self._peer = peer

    def assemble(self, sock: socket.socket, bind: Callable[[], None], peer: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, tcp.TCP_REPAIR, tcp.REPAIR_ON)
        tcp.set_sequence(sock, tcp.RECV_QUEUE, self.receive_end - len(self.received))
        tcp.set_sequence(sock, tcp.SEND_QUEUE, self.send_end - len(self.sent))
        bind()
        self._connect(sock, peer)
        stream = self.stream
        tcp.set_options(sock, stream.opt_mask, stream.mss_clamp, stream.snd_wscale, stream.rcv_wscale)
        if stream.opt_mask & tcp.OPTION_TIMESTAMPS:
            value = struct.pack("<I", stream.timestamp)
            sock.setsockopt(socket.IPPROTO_TCP, tcp.TCP_TIMESTAMP, value)
        self._make_room(sock)
        self._fill(sock, tcp.RECV_QUEUE, self.received)
        self._fill(sock, tcp.SEND_QUEUE, self.unacknowledged)
        self._set_window(sock)

    def _connect(self, sock: socket.socket, peer: Any) -> None:
        try:
            sock.connect(peer)
        except OSError as error:
            raise CheckpointError(
                f"cannot restore the TCP connection to {peer[0]} port {peer[1]}: {error.strerror}; "
                "there must be a route to that address"
            ) from error

    def _make_room(self, sock: socket.socket) -> None:
        for option, content in ((SO_RCVBUFFORCE, self.received), (SO_SNDBUFFORCE, self.sent)):
            sock.setsockopt(socket.SOL_SOCKET, option, _LEAST_ROOM + 2 * len(content))

    @staticmethod
    def _fill(sock: socket.socket, queue: int, content: bytes) -> None:
        tcp.select_queue(sock, queue)
        view = memoryview(content)
        while view:
            view = view[sock.send(view[:_PIECE]) :]

    def _set_window(self, sock: socket.socket) -> None:
        stream = self.stream
        if not stream.HasField("snd_wnd"):
            return
        update = min(stream.rcv_wup, self.receive_end) if self.state in _GOT_FIN else stream.rcv_wup
        tcp.set_window(sock, tcp.Window(stream.snd_wl1, stream.snd_wnd, stream.max_window, stream.rcv_wnd, update))

    # Coming to life

    def start(self) -> None:
        """Bring the connection to its state."""
        if self.state == SYN_SENT:
            return
        with lent(self.fd) as sock:
            if self.state in _SENT_FIN and not self.fin_unsent and self.state != LAST_ACK:
                self._shut(sock)
            if self.state in _GOT_FIN and not (self.state == CLOSING and self.fin_unsent):
                self._tell(tcp.FIN | tcp.ACK, self.receive_end, self._acknowledged())
            if self.state == LAST_ACK and not self.fin_unsent:
                self._shut(sock)
            if self.state == FIN_WAIT2:
                self._tell(tcp.ACK, self.receive_end, self.stream.outq_seq)
            if self.state == CLOSE:
                self._end(sock)

    def wake(self) -> None:
        """Let the connection live; what it never sent comes when all have woken.  OSError where that fails."""
        with lent(self.fd) as sock:
            if self.state == SYN_SENT:
                self._ask(sock)
            else:
                sock.setsockopt(socket.IPPROTO_TCP, tcp.TCP_REPAIR, tcp.REPAIR_OFF)

    def _ask(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, tcp.TCP_REPAIR, tcp.REPAIR_OFF_QUIETLY)
        blocking = sock.getblocking()
        sock.setblocking(False)
        try:
            sock.connect(self._peer)
        except BlockingIOError:
            pass
        finally:
            sock.setblocking(blocking)

    def speak(self) -> None:
        """Send what was never sent.  OSError where the queue does not take it."""
        with lent(self.fd) as sock:
            rest = self.sent[len(self.unacknowledged) :]
            if rest and sock.send(rest, socket.MSG_DONTWAIT) != len(rest):
                raise OSError(errno.ENOBUFS, f"a send queue does not take its {len(rest)} bytes again")
            if self.fin_unsent:
                sock.shutdown(socket.SHUT_WR)
        if self.state == CLOSING and self.fin_unsent:
            self._tell(tcp.FIN | tcp.ACK, self.receive_end, self._acknowledged())

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        """Send a FIN that was sent before: under repair it only takes its place in the queue."""
        tcp.select_queue(sock, tcp.SEND_QUEUE)
        sock.shutdown(socket.SHUT_WR)

    def _acknowledged(self) -> int:
        """Up to where the peer has acknowledged what we sent."""
        return self.send_end - len(self.sent)

    def _end(self, sock: socket.socket) -> None:
        """The connection has come to its end, what was received may still be read."""
        self._tell(tcp.RST | tcp.ACK, self.stream.inq_seq, self._acknowledged())
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _tell(self, flags: int, seq: int, ack: int) -> None:
        """A segment from the peer; the window in it is the one that the peer last told."""
        window = self.stream.snd_wnd >> self.stream.snd_wscale
        here, there = self._end_of("src"), self._end_of("dst")
        tcp.inject(tcp.Segment(there, here, seq, ack, flags, window), PASS_MARK)

    def _end_of(self, side: str) -> tuple[bytes, int]:
        words = getattr(self.entry, f"{side}_addr")
        packed = struct.pack(f"<{len(words)}I", *words)
        if packed.startswith(bytes(10) + b"\xff\xff") and len(packed) == 16:
            packed = packed[12:]  # an IPv6 socket that speaks IPv4
        return packed, getattr(self.entry, f"{side}_port")
