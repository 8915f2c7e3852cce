"""epoll instances that watch signalfds: each tells the signals of the process that added the watch."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
MASK = struct.pack("<Q", 1 << signal.SIGCHLD - 1 | 1 << signal.SIGUSR1 - 1)


def signalfd() -> int:
    return int(libc.syscall(289, -1, MASK, 8, os.O_NONBLOCK))


def watching(fd: int, events: int = select.EPOLLIN) -> select.epoll:
    epoll = select.epoll()
    epoll.register(fd, events)
    return epoll


def taken(fd: int) -> list[int]:
    found = []
    try:
        while record := os.read(fd, 128):
            found.append(struct.unpack_from("<I", record)[0])
    except BlockingIOError:
        pass
    return found


def serve(signals: int, told: int) -> None:
    """A child with an epoll of its own: it tells each signal that wakes it."""
    epoll = watching(signals)
    os.write(told, b"r")
    while True:
        epoll.poll()
        os.write(told, bytes(taken(signals)))


with workload() as check:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGUSR1])
    signals = signalfd()
    plain, edge = watching(signals), watching(signals, select.EPOLLIN | select.EPOLLET)
    outer = watching(plain.fileno())
    stdin = os.dup(0)
    os.dup2(signalfd(), 0)
    low = watching(0)  # under a number that our own descriptors may have meanwhile
    alias = os.dup(signals)
    moved = watching(alias)
    os.dup2(stdin, alias)  # under a number that is another file's now
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        serve(signalfd(), telling)
    check.equal(os.read(told, 1), b"r", "the child's greeting")
    check.wait()

    for fd, epoll in ((signals, plain), (signals, edge), (signals, outer), (0, low), (signals, moved)):
        check.equal(epoll.poll(0), [], "nothing is ready")
        os.kill(os.getpid(), signal.SIGUSR1)
        check.equal(len(epoll.poll(5)), 1, "woken by a signal")
        check.equal(taken(fd), [signal.SIGUSR1], "the signal")
    if (grandchild := os.fork()) == 0:
        os._exit(0)
    check.equal(plain.poll(5), [(signals, select.EPOLLIN)], "woken by a child's end")
    os.waitpid(grandchild, 0)
    os.kill(child, signal.SIGUSR1)
    check.that(bool(select.select([told], [], [], 5)[0]), "the child is woken by a signal of its own")
    check.equal(os.read(told, 1), bytes([signal.SIGUSR1]), "the child's signal")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
