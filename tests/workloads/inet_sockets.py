"""TCP, UDP and raw sockets of both families go on where they were."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from lib import workload

STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
FIN_WAIT1 = 4
HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def state(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def pair(family: int) -> tuple[socket.socket, socket.socket, socket.socket]:
    listener, client = socket.socket(family, STREAM), socket.socket(family, STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOSTS[family], 0))
    listener.listen(5)
    client.connect(listener.getsockname())
    return listener, client, listener.accept()[0]


def read_all(sock: socket.socket, size: int) -> bytes:
    sock.settimeout(5)
    found = b""
    with contextlib.suppress(TimeoutError):
        while len(found) < size and (piece := sock.recv(size - len(found))):
            found += piece
    return found


with workload() as check:
    connections = {family: pair(family) for family in HOSTS}
    for _, client, server in connections.values():
        client.send(b"to server" * 1000)
        server.send(b"to client")
    ends = {f: (c.getsockname(), c.getpeername()) for f, (_, c, _) in connections.items()}

    full_listener, full, full_peer = pair(socket.AF_INET)
    full.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += full.send(bytes(100000))

    halves = [pair(socket.AF_INET) for _ in range(2)]
    for _, client, _ in halves:
        client.send(b"last words")
        client.shutdown(socket.SHUT_WR)
    halves[1][2].shutdown(socket.SHUT_WR)
    reset = pair(socket.AF_INET)
    reset[1].send(b"unread")
    reset[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset[1].close()

    udp = {}
    for family, host in HOSTS.items():
        one, two = socket.socket(family, DGRAM), socket.socket(family, DGRAM)
        one.bind((host, 0))
        two.connect(one.getsockname())
        udp[family] = (one, two)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.setsockopt(255, 1, struct.pack("I", 1 << 8))
    plain = socket.socket(socket.AF_INET, STREAM)
    plain.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 3, 5))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50000)
    size = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    while state(halves[0][1]) == FIN_WAIT1:
        time.sleep(0.01)
    states = [[state(end) for end in half[1:]] for half in halves]

    check.wait()

    check.equal([[state(end) for end in half[1:]] for half in halves], states, "states of half-closed connections")
    for family, (listener, client, server) in connections.items():
        check.equal((client.getsockname(), client.getpeername()), ends[family], "addresses")
        check.equal(read_all(server, 9000), b"to server" * 1000, "data in the server's queue")
        check.equal(read_all(client, 9), b"to client", "data in the client's queue")
        client.send(b"more")
        check.equal(read_all(server, 4), b"more", "data after the restore")
        server.send(b"answer")
        check.equal(read_all(client, 6), b"answer", "answer after the restore")
        check.equal(listener.getsockname(), server.getsockname(), "address of the listener")
        late = socket.socket(family, STREAM)
        late.connect(listener.getsockname())
        check.that(listener.accept(), "no new connection")
    check.equal(len(read_all(full_peer, sent)), sent, "length of a stream with full queues")
    full.setblocking(True)
    full.send(b"end")
    check.equal(read_all(full_peer, 3), b"end", "data after full queues")

    check.equal(read_all(halves[0][2], 100), b"last words", "data in front of a FIN")
    halves[0][2].send(b"I still hear you")
    check.equal(read_all(halves[0][1], 16), b"I still hear you", "data to a half-closed end")
    check.equal(read_all(halves[1][2], 100), b"last words", "data in front of two FINs")
    check.equal(halves[1][1].recv(10), b"", "end of file")
    with contextlib.suppress(ConnectionResetError):
        check.equal(read_all(reset[2], 6), b"unread", "data in front of a reset")

    for one, two in udp.values():
        two.send(b"datagram")
        data, address = one.recvfrom(100)
        check.equal((data, address), (b"datagram", two.getsockname()), "datagram")
        one.sendto(b"back", address)
        check.equal(two.recv(100), b"back", "datagram back")
    check.equal(raw.getsockopt(255, 1, 4), struct.pack("I", 1 << 8), "ICMP filter")
    check.equal(plain.getsockopt(socket.IPPROTO_IP, socket.IP_TTL), 33, "IP_TTL")
    check.equal(plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1, "TCP_NODELAY")
    timeout = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    check.equal(struct.unpack("qq", timeout)[0], 3, "SO_RCVTIMEO")
    check.equal(plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), size, "SO_RCVBUF")
