"""One tree that holds everything at once: each part says at the end whether it is what it was.

A part is made by a function that returns its own check.  The child answers over a socket pair; two threads run on
while the tree is frozen and thawed again and again.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))
from lib import DIRECTORY, Check, workload  # noqa: E402

Part = Callable[[Check], None]
LONG = 100_000.0
libc = ctypes.CDLL(None, use_errno=True)


def growing_file() -> Part:
    """A thread appends a number every few milliseconds."""
    path = DIRECTORY / "growing"
    log = path.open("w", buffering=1)

    def grow() -> None:
        number = 0
        while True:
            number += 1
            log.write(f"{number}\n")
            time.sleep(0.005)

    threading.Thread(target=grow, name="grows", daemon=True).start()

    def check(found: Check) -> None:
        before = len(path.read_text().split())
        time.sleep(0.5)
        lines = path.read_text().split()
        found.that(len(lines) > before, "the file does not grow any more")
        found.equal(lines, [str(number) for number in range(1, len(lines) + 1)], "lines of the file")

    return check


def waiting_thread() -> Part:
    """A thread that waits for a condition."""
    event, answer = threading.Event(), threading.Event()

    def wait() -> None:
        event.wait()
        answer.set()

    threading.Thread(target=wait, name="waits", daemon=True).start()

    def check(found: Check) -> None:
        event.set()
        found.that(answer.wait(10), "the waiting thread does not wake up")

    return check


def child() -> Part:
    """A child with which memory, a pipe and a socket pair are shared; and one that is a zombie."""
    shared = mmap.mmap(-1, 4096)
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        serve(theirs, writer, shared)
    theirs.close()
    os.close(writer)
    zombie = os.fork()
    if zombie == 0:
        os._exit(7)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)

    def check(found: Check) -> None:
        shared[0:5] = b"ahead"
        ours.sendall(b"hello")
        found.equal(os.read(reader, 100), b"child got hello, sees ahead", "what the child says")
        found.equal(shared[5:9], b"back", "what the child wrote into shared memory")
        ours.close()
        found.equal(os.waitpid(pid, 0), (pid, 0), "the child's end")
        found.equal(os.waitpid(zombie, 0), (zombie, 7 << 8), "the zombie")

    return check


def serve(channel: socket.socket, writer: int, shared: mmap.mmap) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while data := channel.recv(100):
        shared[5:9] = b"back"
        os.write(writer, b"child got " + data + b", sees " + shared[0:5])
    os._exit(0)


def pipe_with_data() -> Part:
    reader, writer = os.pipe()
    os.write(writer, b"kept in the pipe")

    def check(found: Check) -> None:
        os.close(writer)
        found.equal((os.read(reader, 100), os.read(reader, 100)), (b"kept in the pipe", b""), "the pipe")

    return check


def unix_sockets() -> Part:
    """A listening one by name, a connection to it with data on the way, and datagrams in a queue."""
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(DIRECTORY)
    listener.bind("listener")
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("listener")
    server, _ = listener.accept()
    client.sendall(b"on the way")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.send(b"one")
    left.send(b"two")

    def check(found: Check) -> None:
        found.equal(server.recv(100), b"on the way", "the connection's queue")
        server.sendall(b"answer")
        found.equal(client.recv(100), b"answer", "the connection's other way")
        found.equal((right.recv(100), right.recv(100)), (b"one", b"two"), "the datagrams")
        with socket.socket(socket.AF_UNIX) as late:
            late.connect("listener")
            found.that(listener.accept(), "the listener accepts")

    return check


def deleted_file() -> Part:
    path = DIRECTORY / "deleted"
    file = path.open("w+b")
    file.write(b"deleted, not gone")
    file.flush()
    path.unlink()

    def check(found: Check) -> None:
        found.equal(file.tell(), 17, "the position in the deleted file")
        found.equal(os.pread(file.fileno(), 100, 0), b"deleted, not gone", "the deleted file")
        found.equal(os.fstat(file.fileno()).st_nlink, 0, "its links")

    return check


def events() -> Part:
    """An eventfd, a timerfd that was due and one that will be, and an epoll that watches them."""
    count = os.eventfd(42)
    due, late = (libc.timerfd_create(time.CLOCK_MONOTONIC, 0) for _ in range(2))
    for timer, first in ((due, 1e-9), (late, LONG)):
        whole = int(first)
        value = (ctypes.c_long * 4)(0, 0, whole, int((first - whole) * 1e9))
        libc.timerfd_settime(timer, 0, value, None)
    epoll = select.epoll()
    for fd in (count, due, late):
        epoll.register(fd, select.EPOLLIN)

    def check(found: Check) -> None:
        ready = dict(epoll.poll(5))
        found.equal(sorted(ready), sorted([count, due]), "what epoll finds ready")
        found.equal(os.eventfd_read(count), 42, "the eventfd")
        found.equal(int.from_bytes(os.read(due, 8), "little"), 1, "expirations of the timerfd")
        left = (ctypes.c_long * 4)()
        libc.timerfd_gettime(late, left)
        found.that(0 < left[2] <= LONG, f"the later timerfd has {left[2]} s left")

    return check


def pending_signal() -> Part:
    """A signal that waits for a signalfd to read it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    mask = (ctypes.c_ulong * 16)(1 << (signal.SIGUSR1 - 1))
    fd = libc.signalfd(-1, mask, 0)
    os.kill(os.getpid(), signal.SIGUSR1)

    def check(found: Check) -> None:
        record = os.read(fd, 128)
        found.equal(int.from_bytes(record[:4], "little"), int(signal.SIGUSR1), "the signal")
        found.equal(int.from_bytes(record[12:16], "little"), os.getpid(), "its sender")

    return check


def memory() -> Part:
    """A memfd that is mapped twice, a file mapping, pages of private memory."""
    fd = os.memfd_create("mixed", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 8192)
    first, second = mmap.mmap(fd, 8192), mmap.mmap(fd, 8192)
    path = DIRECTORY / "mapped"
    path.write_bytes(bytes(8192))
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 8192)
    private = mmap.mmap(-1, 64 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, 64, 3):
        private[page * 4096] = page + 1
    first[:4], mapped[4096:4100] = b"memf", b"file"

    def check(found: Check) -> None:
        found.equal((second[:4], mapped[4096:4100]), (b"memf", b"file"), "shared memory")
        second[:4] = b"both"
        found.equal((first[:4], os.pread(fd, 4, 0)), (b"both", b"both"), "the memfd and its mappings are one")
        mapped[0:4] = b"disk"
        found.equal(path.read_bytes()[:4], b"disk", "the file behind the mapping")
        pages = [private[page * 4096] for page in range(64)]
        found.equal(pages, [page + 1 if page % 3 == 0 else 0 for page in range(64)], "private pages")

    return check


def timers() -> Part:
    """An interval timer and a POSIX timer."""
    signal.setitimer(signal.ITIMER_REAL, LONG, LONG)
    timer = ctypes.c_void_p()
    event = (ctypes.c_int * 16)(0, 0, 0, 1)  # SIGEV_NONE
    assert libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)) == 0
    assert libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, int(LONG), 0), None) == 0

    def check(found: Check) -> None:
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        found.that(0 < left <= LONG and abs(interval - LONG) < 1, f"the interval timer: {left}, {interval}")
        value = (ctypes.c_long * 4)()
        found.equal(libc.timer_gettime(timer, value), 0, "the POSIX timer")
        found.that(0 < value[2] <= LONG, f"the POSIX timer has {value[2]} s left")

    return check


def listening() -> Part:
    server = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    places = server.getsockname(), udp.getsockname()

    def check(found: Check) -> None:
        found.equal((server.getsockname(), udp.getsockname()), places, "the addresses")
        with socket.create_connection(places[0], 10) as client:
            served, _ = server.accept()
            served.sendall(b"served")
            found.equal(client.recv(100), b"served", "a new TCP connection")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"datagram", places[1])
        found.equal(udp.recv(100), b"datagram", "a UDP datagram")

    return check


PARTS = (
    child, pipe_with_data, unix_sockets, deleted_file, events, pending_signal, memory, timers, listening,
    waiting_thread, growing_file,
)  # fmt: skip

with workload() as verdict:
    Path(DIRECTORY / "holds").write_text("\n".join(part.__name__ for part in PARTS))
    checks = [part() for part in PARTS]
    verdict.wait()
    for part in checks:
        part(verdict)
