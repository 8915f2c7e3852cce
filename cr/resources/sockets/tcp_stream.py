"""TCP connections: their queues, sequence numbers, options and windows; tcp-stream images.

The numbers in an image are the kernel's own at the moment of the dump: a FIN that was sent or received has
its number included, it is not included in the lengths.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from cr.kernel import tcp
from cr.kernel.sockets import CLOSE, CLOSING, FIN_WAIT1, LAST_ACK, SYN_SENT

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from images import messages as m

_FIN_UNACKNOWLEDGED = frozenset({FIN_WAIT1, CLOSING, LAST_ACK})


def dump_stream(entry: m.inet_sk_entry, sock: socket.socket, context: DumpContext) -> None:
    """Write the connection's image; the connection itself stays untouched, and is silent when its tasks end."""
    with tcp.repair(sock):
        stream, content = describe(entry.state, sock)
    with context.images.writer("tcp-stream", entry.ino) as image:
        image.add(stream, content)
    local = os.dup(sock.fileno())
    context.at_kill.append(lambda: silence(local))


def silence(fd: int) -> None:
    """The connection ends without a word when its last descriptor is closed; this one is."""
    with socket.socket(fileno=fd) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, tcp.TCP_REPAIR, tcp.REPAIR_ON)


def describe(state: int, sock: socket.socket) -> tuple[m.tcp_stream_entry, bytes]:
    """The connection as a record, and its receive queue followed by its send queue.  Must be under repair."""
    from images import messages as m

    fd = sock.fileno()
    agreed, found = tcp.info(sock), tcp.window(sock)
    fin = 1 if state in _FIN_UNACKNOWLEDGED else 0
    outgoing = 0 if state in (CLOSE, SYN_SENT) else max(tcp.unacknowledged(fd) - fin, 0)
    unsent = 0 if state in (CLOSE, SYN_SENT) else max(tcp.unsent(fd) - fin, 0)
    stream = m.tcp_stream_entry(outq_len=outgoing, unsq_len=unsent, inq_len=0)
    stream.inq_seq, stream.outq_seq = tcp.sequence(sock, tcp.RECV_QUEUE), tcp.sequence(sock, tcp.SEND_QUEUE)
    stream.opt_mask = agreed.options & 7
    stream.snd_wscale, stream.rcv_wscale = agreed.send_scale, agreed.receive_scale
    stream.mss_clamp = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    if stream.opt_mask & tcp.OPTION_TIMESTAMPS:
        stream.timestamp = sock.getsockopt(socket.IPPROTO_TCP, tcp.TCP_TIMESTAMP) & tcp.WORD
    for name in ("snd_wl1", "snd_wnd", "max_window", "rcv_wnd", "rcv_wup"):
        setattr(stream, name, getattr(found, name))
    received = tcp.peek(sock, tcp.RECV_QUEUE, tcp.received(fd))
    stream.inq_len = len(received)
    return stream, received + tcp.peek(sock, tcp.SEND_QUEUE, outgoing)
