"""POSIX message queues with messages, full, empty and unlinked; "notify": somebody is to be told of the next one."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
import sys

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
ATTRIBUTES = struct.Struct("<8q")


def call(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def queue(name: bytes, flags: int = os.O_RDWR | os.O_NONBLOCK, most: int = 8, size: int = 100) -> int:
    attributes = ATTRIBUTES.pack(0, most, size, 0, 0, 0, 0, 0)
    return call(240, name, flags | os.O_CREAT, 0o640, attributes)


def send(fd: int, content: bytes, priority: int) -> None:
    call(242, fd, content, len(content), priority, None)


def receive(fd: int) -> tuple[bytes, int]:
    buffer, priority = ctypes.create_string_buffer(200), ctypes.c_uint()
    length = call(243, fd, buffer, 200, ctypes.byref(priority), None)
    return buffer.raw[:length], priority.value


def attributes(fd: int) -> tuple[int, ...]:
    """Flags, room, size of a message, how many there are."""
    buffer = ctypes.create_string_buffer(ATTRIBUTES.size)
    call(245, fd, None, buffer)
    return ATTRIBUTES.unpack(buffer.raw)[:4]


def facts(fd: int) -> tuple[object, ...]:
    stat = os.fstat(fd)
    return os.readlink(f"/proc/self/fd/{fd}"), attributes(fd), stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size


MESSAGES = [(b"late", 0), (b"first of 3", 3), (b"", 7), (b"second of 3", 3), (b"x" * 100, 0), (bytes(20), 3)]
EXPECTED = [(b"", 7), (b"first of 3", 3), (b"second of 3", 3), (bytes(20), 3), (b"late", 0), (b"x" * 100, 0)]


def main() -> None:
    with workload() as check:
        some, full, gone = queue(b"some"), queue(b"full", most=2), queue(b"gone")
        reader = queue(b"some", os.O_RDONLY)
        waited = queue(b"waited", os.O_RDWR)
        for content, priority in MESSAGES:
            send(some, content, priority)
        send(full, b"1", 1)
        send(full, b"2", 2)
        send(gone, b"still here", 32767)
        call(241, b"gone")
        other = queue(b"gone")  # of the same name
        os.close(queue(b"not-open"))
        lonely = queue(b"not-open")
        send(lonely, b"alone", 5)
        os.close(lonely)
        if os.getuid() == 0:
            os.fchown(full, 0, 0)
        os.fchmod(full, 0o604)
        there, here = os.pipe()
        if (child := os.fork()) == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.write(here, receive(waited)[0] + receive(gone)[0])
            os._exit(0)
        epoll = select.epoll()
        epoll.register(some, select.EPOLLIN)
        if "notify" in sys.argv:
            empty = queue(b"empty")
            call(244, empty, struct.pack("<qii48x", 0x77, signal.SIGUSR1, 0))
        before = [facts(fd) for fd in (some, full, gone, other, reader, waited)]
        check.wait()
        check.equal([facts(fd) for fd in (some, full, gone, other, reader, waited)], before, "files and attributes")
        check.equal([fd for fd, _ in epoll.poll(0)], [some], "what epoll says")
        check.equal([receive(some) for _ in EXPECTED], EXPECTED, "messages")
        check.equal(epoll.poll(0), [], "what epoll says of an empty queue")
        try:
            send(full, b"3", 3)
        except BlockingIOError:
            pass
        else:
            check.that(False, "the full queue takes a message")
        check.equal([receive(full), receive(full)], [(b"2", 2), (b"1", 1)], "what the full queue holds")
        send(some, b"by another file", 4)
        check.equal(receive(reader), (b"by another file", 4), "a descriptor to read from")
        lonely = queue(b"not-open")
        check.equal(receive(lonely), (b"alone", 5), "a queue that nobody had open")
        send(waited, b"for the child, ", 0)
        check.equal(os.read(there, 100), b"for the child, still here", "what the child received")
        check.equal(os.waitpid(child, 0)[1], 0, "the child")
        for name in (b"some", b"full", b"gone", b"not-open", b"waited"):
            call(241, name)


if __name__ == "__main__":
    main()
