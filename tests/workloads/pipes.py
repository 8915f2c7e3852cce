"""Pipes and FIFOs in every state: content, sizes, packets, one end only, several descriptions, deleted."""

from __future__ import annotations

import fcntl
import os
import signal

from lib import COMMON, DIRECTORY, workload

os.chdir(DIRECTORY)


def flags(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETFL)


with workload() as check:
    plain_r, plain_w = os.pipe()
    os.write(plain_w, b"hello")
    fcntl.fcntl(plain_w, fcntl.F_SETPIPE_SZ, 16384)
    packet_r, packet_w = os.pipe2(os.O_NONBLOCK | (0 if COMMON else os.O_DIRECT))
    for packet in (b"abc", b"de", b"f" * 4000):
        os.write(packet_w, packet)
    full_r, full_w = os.pipe2(os.O_NONBLOCK)
    filled = 0
    while True:
        try:
            filled += os.write(full_w, bytes(4096))
        except BlockingIOError:
            break
    lonely_r, gone_w = os.pipe()
    os.write(gone_w, b"last words")
    os.close(gone_w)
    gone_r, lonely_w = os.pipe()
    os.close(gone_r)
    third = os.open(f"/proc/self/fd/{plain_r}", os.O_RDONLY | os.O_NONBLOCK)
    same = os.dup(plain_r)
    both = os.open(f"/proc/self/fd/{plain_r}", os.O_RDWR)

    os.mkfifo("fifo")
    fifo = os.open("fifo", os.O_RDWR)
    os.write(fifo, b"fifo content")
    reader = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
    os.mkfifo("deleted")
    deleted = os.open("deleted", os.O_RDWR)
    os.write(deleted, b"deleted content")
    os.unlink("deleted")
    os.mkfifo("readonly")
    readonly = os.open("readonly", os.O_RDONLY | os.O_NONBLOCK)

    to_child_r, to_child_w = os.pipe()
    from_child_r, from_child_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(to_child_w)
        while data := os.read(to_child_r, 100):
            os.write(from_child_w, data.upper())
        os._exit(0)
    os.close(from_child_w)
    os.close(to_child_r)
    before = {
        fd: flags(fd) for fd in (plain_r, plain_w, packet_r, packet_w, full_w, third, both, fifo, reader, readonly)
    }
    check.wait()
    check.equal({fd: flags(fd) for fd in before}, before, "status flags")
    check.equal(os.read(third, 2), b"he", "third description")
    check.equal(os.read(plain_r, 100), b"llo", "plain pipe")
    check.equal(fcntl.fcntl(plain_w, fcntl.F_GETPIPE_SZ), 16384, "size of the plain pipe")
    packets = [b"abcde" + b"f" * 4000] if COMMON else [b"abc", b"de", b"f" * 4000]
    check.equal([os.read(packet_r, 5000) for _ in packets], packets, "packets")
    os.write(both, b"again")
    check.equal(os.read(same, 100), b"again", "dup of the read end")
    check.equal(len(os.read(full_r, 1 << 20)), filled, "full pipe")
    check.equal((os.read(lonely_r, 100), os.read(lonely_r, 100)), (b"last words", b""), "pipe without a writer")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        os.write(lonely_w, b"x")
        check.that(False, "a pipe without a reader takes data")
    except BrokenPipeError:
        pass
    check.equal(os.read(reader, 100), b"fifo content", "FIFO")
    os.write(fifo, b"more")
    check.equal(os.read(reader, 100), b"more", "FIFO afterwards")
    check.equal(os.read(deleted, 100), b"deleted content", "deleted FIFO")
    check.equal(
        os.readlink(f"/proc/self/fd/{deleted}"), str(DIRECTORY / "deleted (deleted)"), "name of the deleted FIFO"
    )
    check.that(not (DIRECTORY / "deleted").exists(), "the deleted FIFO has its name again")
    check.equal(os.read(readonly, 10), b"", "FIFO without a writer")
    os.write(to_child_w, b"shout")
    check.equal(os.read(from_child_r, 100), b"SHOUT", "pipes to and from the child")
    os.close(to_child_w)
    check.equal(os.waitpid(child, 0)[1], 0, "the child's end")
    check.equal(os.read(from_child_r, 100), b"", "end of file when the child has gone")
