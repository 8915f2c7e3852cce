"""SO_PEERCRED of pairs and connections names those who made them: other tasks, other ids, processes that are gone."""

from __future__ import annotations

import os
import socket
import struct
import sys

from lib import workload

OTHER = 1234


def peer(sock: socket.socket) -> tuple[int, ...]:
    return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))


def by_child(*, stays: bool) -> tuple[socket.socket, int]:
    """One end of a pair that a child with other ids has made, and its pid."""
    carrier, theirs = socket.socketpair()
    if not (pid := os.fork()):
        os.setresgid(OTHER, OTHER, 0)
        os.setresuid(OTHER, OTHER, 0)
        made = socket.socketpair()
        socket.send_fds(theirs, [b"."], [made[0].fileno()])
        if stays:
            theirs.recv(1)
        os._exit(0)
    theirs.close()
    _, fds, _, _ = socket.recv_fds(carrier, 1, 1)
    kept.append(carrier)
    if not stays:
        os.waitpid(pid, 0)
    return socket.socket(fileno=fds[0]), pid


kept: list[socket.socket] = []
with workload() as check:
    os.chdir(sys.argv[1])
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made, child = by_child(stays=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("listening")
    listener.listen(5)
    client = socket.socket(socket.AF_UNIX)
    client.connect("listening")
    server = listener.accept()[0]
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect("listening")
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0credentials-{os.getpid()}")
    abstract.listen(5)
    second = socket.socket(socket.AF_UNIX)
    second.connect(abstract.getsockname())
    socks = [*pair, made, listener, client, server, waiting, abstract, second, abstract.accept()[0]]
    socks.append(by_child(stays=False)[0])
    before = [peer(sock) for sock in socks]
    check.equal(before[2], (child, OTHER, OTHER), "peer of the pair that the child made")
    descriptors = sorted(os.listdir("/proc/self/fd"))
    check.wait()
    check.equal([peer(sock) for sock in socks], before, "peers")
    check.equal(sorted(os.listdir("/proc/self/fd")), descriptors, "descriptors")
    check.equal(peer(listener.accept()[0]), (os.getpid(), os.getuid(), os.getgid()), "peer of what waited")
    client.send(b"hello")
    check.equal(server.recv(9), b"hello", "data")
    kept[0].send(b"go")
    os.waitpid(child, 0)
