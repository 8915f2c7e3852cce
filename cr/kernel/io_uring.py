"""io_uring(7): its three calls, where things are in the memory that a ring shares with its program."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

from cr.kernel import vm
from cr.kernel.libc import syscall
from cr.values import dataclass

SETUP_CQSIZE, SETUP_CLAMP, SETUP_SUBMIT_ALL, SETUP_SQE128, SETUP_CQE32 = 1 << 3, 1 << 4, 1 << 7, 1 << 10, 1 << 11
REGISTER_BUFFERS, REGISTER_FILES, REGISTER_EVENTFD, REGISTER_PBUF_STATUS = 0, 2, 4, 26
ENTER_REGISTERED_RING = 1 << 4
REQUESTS_OFFSET = 0x10000000
"""mmap(2) offset of the submission entries; the rings themselves are at 0"""
_PARAMS = 120


@dataclass(frozen=True)
class Layout:
    """Offsets into the shared memory: heads and tails, counts, the completions, the array of submissions."""

    sq_head: int
    sq_tail: int
    array: int
    cq_head: int
    cq_tail: int
    completions: int
    sq_entries: int
    cq_entries: int
    setup: int

    @property
    def request_size(self) -> int:
        return 128 if self.setup & SETUP_SQE128 else 64

    @property
    def completion_size(self) -> int:
        return 32 if self.setup & SETUP_CQE32 else 16

    @property
    def end_of_completions(self) -> int:
        return self.completions + self.cq_entries * self.completion_size


def setup(sq_entries: int, cq_entries: int, flags: int) -> tuple[int, Layout]:
    """io_uring_setup(2) with that many entries: our descriptor of a new ring, close-on-exec."""
    params = ctypes.create_string_buffer(_PARAMS)
    chosen = SETUP_CQSIZE | SETUP_CLAMP | SETUP_SUBMIT_ALL | flags
    struct.pack_into("<3I", params, 0, 0, cq_entries, chosen)
    fd = syscall("io_uring_setup", 425, sq_entries, params)
    sq, cq = struct.unpack_from("<7I", params, 40), struct.unpack_from("<7I", params, 80)
    made = struct.unpack_from("<2I", params, 0)
    return fd, Layout(sq[0], sq[1], sq[6], cq[0], cq[1], cq[5], made[0], made[1], flags)


def enter(fd: int, submit: int) -> int:
    """io_uring_enter(2): how many requests were taken."""
    return syscall("io_uring_enter", 426, fd, submit, 0, 0, None, 0)


class Memory:
    """Our own mapping of the memory of a ring; what does not exist is an OSError, not a signal."""

    def __init__(self, fd: int, size: int, offset: int) -> None:
        pages = -(-size // vm.PAGE_SIZE) * vm.PAGE_SIZE
        self._map = mmap.mmap(fd, pages, offset=offset)
        self._address = vm.address_of(self._map)

    def read(self, start: int, size: int) -> bytes:
        return vm.read(os.getpid(), self._address + start, size)

    def write(self, start: int, content: bytes) -> None:
        vm.write(os.getpid(), self._address + start, content)

    def word(self, start: int) -> int:
        return int.from_bytes(self.read(start, 4), "little")

    def set_word(self, start: int, value: int) -> None:
        self.write(start, (value & 0xFFFFFFFF).to_bytes(4, "little"))
