"""io_uring rings that have nothing to do: their counts, registered files and buffers, completions nobody has taken."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys

from lib import DIRECTORY, workload

libc = ctypes.CDLL(None, use_errno=True)
NOP, READ_FIXED, POLL_ADD = 0, 4, 6
FIXED_FILE, ASYNC = 1, 16


def call(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(libc.syscall(number, *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return result


class Ring:
    """A ring as a program uses it; like liburing it keeps counts of its own."""

    def __init__(self, entries: int, flags: int = 0) -> None:
        params = ctypes.create_string_buffer(120)
        struct.pack_into("<3I", params, 0, 0, 0, flags)
        self.fd = call(425, entries, params)
        self.sq_head, self.sq_tail, _, self.entries, _, _, self.array = struct.unpack_from("<7I", params, 40)
        self.cq_head, self.cq_tail, _, _, _, self.completions, _ = struct.unpack_from("<7I", params, 80)
        self.entries, self.room = struct.unpack_from("<2I", params, 0)
        self.has_array = not flags & 1 << 16
        size = self.array + 4 * self.entries if self.has_array else self.completions + 16 * self.room
        self.rings = mmap.mmap(self.fd, size)
        self.requests = mmap.mmap(self.fd, 64 * self.entries, offset=0x10000000)
        self.taken = self.given = 0
        for index in range(self.entries if self.has_array else 0):
            struct.pack_into("<I", self.rings, self.array + 4 * index, index)

    def submit(
        self, opcode: int, data: int, *, flags: int = 0, fd: int = -1, buffer: tuple[int, int, int] = (0, 0, 0)
    ) -> int:
        """`buffer`: address, length, number among those registered."""
        address, length, number = buffer
        place = self.given % self.entries * 64
        events = 1 if opcode == POLL_ADD else 0
        request = struct.pack("<BBHiQQIIQH", opcode, flags, 0, fd, 0, address, length, events, data, number)
        self.requests[place : place + 64] = request.ljust(64, b"\0")
        self.given += 1
        struct.pack_into("<I", self.rings, self.sq_tail, self.given)
        return call(426, self.fd, 1, 0, 0, None, 0)

    def complete(self) -> list[tuple[int, int]]:
        """(data, result) of everything that is done."""
        found = []
        tail = struct.unpack_from("<I", self.rings, self.cq_tail)[0]
        while self.taken != tail:
            place = self.completions + self.taken % self.room * 16
            found.append(struct.unpack_from("<Qi", self.rings, place))
            self.taken += 1
        struct.pack_into("<I", self.rings, self.cq_head, self.taken)
        return found

    def mapped(self) -> list[str]:
        with open("/proc/self/maps") as maps:
            return [line.split()[0] for line in maps if "io_uring" in line]


def main() -> None:
    with workload() as check:
        (DIRECTORY / "content").write_text("registered")
        file = os.open(DIRECTORY / "content", os.O_RDONLY)
        buffers = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffers))
        ring = Ring(8)
        call(427, ring.fd, 2, struct.pack("<3i", -1, file, -1), 3)
        call(427, ring.fd, 0, struct.pack("<4Q", 0, 0, address + mmap.PAGESIZE, mmap.PAGESIZE), 2)
        shared, fresh, other = Ring(32), Ring(64), Ring(4, 1 << 16 if "array" not in sys.argv else 0)
        for number in range(1003):
            ring.submit(NOP, number)
            check.equal(ring.complete(), [(number, 0)], "before the dump")
        single = Ring(16, 1 << 12 | 1 << 13)  # SINGLE_ISSUER, DEFER_TASKRUN
        before = ring.mapped()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        child = os.fork()
        if child == 0:
            while signal.sigwait([signal.SIGUSR1, signal.SIGTERM]) != signal.SIGUSR1:
                pass
            shared.submit(NOP, 8)
            os._exit(0 if shared.complete() == [(8, 0)] and ring.mapped() == before else 1)
        other.submit(NOP, 5)
        other.submit(NOP, 6)
        if "busy" in sys.argv:
            ring.submit(POLL_ADD, 1, fd=os.pipe()[0])
        if "eventfd" in sys.argv:
            call(427, fresh.fd, 4, struct.pack("<i", os.eventfd(0)), 1)
        if "worker" in sys.argv:
            fresh.submit(NOP, 3, flags=ASYNC)
            call(426, fresh.fd, 0, 1, 1, None, 0)
            check.equal(fresh.complete(), [(3, 0)], "a request that the kernel does in a thread of its own")
            check.equal(len(os.listdir("/proc/self/task")), 2, "threads, with that of the kernel")
        check.wait()
        check.equal(ring.mapped(), before, "where the rings are")
        check.equal(other.complete(), [(5, 0), (6, 0)], "completions that nobody had taken")
        ring.submit(READ_FIXED, 77, flags=FIXED_FILE, fd=1, buffer=(address + mmap.PAGESIZE, 10, 1))
        call(426, ring.fd, 0, 1, 1, None, 0)
        check.equal(ring.complete(), [(77, 10)], "a read with what is registered")
        check.equal(buffers[mmap.PAGESIZE : mmap.PAGESIZE + 10], b"registered", "what was read")
        os.kill(child, signal.SIGUSR1)
        check.equal(os.waitpid(child, 0)[1], 0, "a ring that a child shares")
        for some in (ring, fresh, other, single):
            for number in range(100):
                check.equal(some.submit(NOP, number), 1, "a request is taken")
                check.equal(some.complete(), [(number, 0)], "after the restore")


main()
