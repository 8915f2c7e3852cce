"""A process tree with something of many kinds, for comparison with another engine's images.

Run in namespaces of its own: makes System V objects and brings the loopback device up. Makes a file `ready`
in its directory when everything is in place, then sleeps for ever.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import threading
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
IPC_CREAT = 0o1000
KEEP: list[object] = []


def files(directory: Path) -> None:
    """A deleted file, a deleted file with a hole, a locked one, a memfd, a fifo."""
    plain, holes = (tempfile.TemporaryFile(dir=directory) for _ in range(2))  # noqa: SIM115 (kept open)
    plain.write(b"ghost" * 1000)
    holes.write(b"a" * 4096)
    holes.seek(200_000)
    holes.write(b"end" * 3000)
    locked = (directory / "locked").open("w")
    fcntl.flock(locked, fcntl.LOCK_EX)
    memory = os.memfd_create("memory", os.MFD_ALLOW_SEALING)
    os.write(memory, b"m" * 5000)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    os.mkfifo(directory / "fifo")
    os.write(os.open(directory / "fifo", os.O_RDWR), b"in the fifo")
    for file in (plain, holes):
        file.flush()
    KEEP.extend((plain, holes, locked, mmap.mmap(-1, 8192)))


def pipes_and_events(directory: Path) -> None:
    """A filled pipe, and descriptors that stand for events."""
    receive, send = os.pipe()
    os.write(send, b"in the pipe" * 20)
    poll = select.epoll()
    poll.register(receive)
    KEEP.append(poll)
    os.eventfd(5)
    watch = LIBC.inotify_init1(0)
    LIBC.inotify_add_watch(watch, bytes(directory), 0x100)
    LIBC.signalfd(-1, ctypes.byref(ctypes.c_uint64(1 << 11)), 0)
    timer = LIBC.timerfd_create(1, 0)
    LIBC.timerfd_settime(timer, 0, (ctypes.c_long * 4)(5, 0, 100, 0), None)
    os.openpty()
    signal.setitimer(signal.ITIMER_REAL, 1000, 5)


def sockets(directory: Path) -> None:
    """Unix sockets with queues, listening sockets, an established connection with data in it."""
    loopback_up()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        near, far = socket.socketpair(socket.AF_UNIX, kind)
        near.send(b"one")
        near.send(b"two")
        KEEP.extend((near, far))
    for name in ("\0abstract=name", str(directory / "socket")):
        server = socket.socket(socket.AF_UNIX)
        server.bind(name)
        server.listen()
        KEEP.append(server)
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    client.send(b"x" * 1000)
    KEEP.extend((listener, client, listener.accept()[0]))
    KEEP.append(socket.create_server(("::1", 0), family=socket.AF_INET6))
    KEEP.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


def loopback_up() -> None:
    """SIOCSIFFLAGS with IFF_UP and IFF_RUNNING, netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x41))


def system_v() -> None:
    """Segments, queues with messages, semaphores."""
    LIBC.shmat.restype = ctypes.c_void_p
    for key, size in ((1, 5001), (2, 103)):
        segment = LIBC.shmget(key, size, IPC_CREAT | 0o600)
        ctypes.memmove(LIBC.shmat(segment, None, 0), b"segment", 7)
    for key in (1, 2):
        queue = LIBC.msgget(key, IPC_CREAT | 0o600)
        for text in (b"one", b"nine bytes", b"12345678"):
            message = ctypes.create_string_buffer(struct.pack("l", 7) + text)
            LIBC.msgsnd(queue, message, len(text), 0)
    for count in (3, 4):
        semaphores = LIBC.semget(count, count, IPC_CREAT | 0o600)
        LIBC.semctl(semaphores, 1, 16, 9)


def main() -> None:
    """Make everything, then a child, a thread, and say so."""
    directory = Path(sys.argv[1])
    for make in (files, pipes_and_events, sockets):
        make(directory)
    system_v()
    if os.fork() == 0:
        signal.pause()
    threading.Thread(target=signal.sigwait, args=[{signal.SIGUSR2}], daemon=True).start()
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devnull, fd)
    (directory / "ready").touch()
    signal.pause()


if __name__ == "__main__":
    main()
