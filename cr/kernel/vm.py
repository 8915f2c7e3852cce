"""Memory of other processes: process_vm_readv(2), process_vm_writev(2)."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

from cr.kernel.libc import memcmp, syscall

PAGE_SIZE = mmap.PAGESIZE
IOV_MAX = 1024


def address_of(buffer: mmap.mmap | bytearray | memoryview) -> int:
    """Address of a writable buffer in this process."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def iovecs(spans: Sequence[tuple[int, int]]) -> ctypes.Array[ctypes.c_uint64]:
    words: list[int] = []
    for start, length in spans:
        words += (start, length)
    return (ctypes.c_uint64 * len(words))(*words)


def readv(pid: int, spans: Sequence[tuple[int, int]], address: int, size: int) -> int:
    """Read the (start, length) spans of task `pid` one after the other to our own `address`."""
    local = iovecs([(address, size)])
    remote = iovecs(spans)
    return syscall("process_vm_readv", 310, pid, local, 1, remote, len(spans), 0)


def read(pid: int, start: int, size: int) -> bytes:
    """Bytes of task `pid` from `start`; OSError where a page of them cannot be read."""
    buffer = bytearray(size)
    got = 0
    while got < size:
        view = memoryview(buffer)[got:]
        got += readv(pid, [(start + got, size - got)], address_of(view), size - got)
        view.release()
    return bytes(buffer)


def write(pid: int, start: int, content: bytes) -> None:
    """Write bytes into task `pid`; its own page protections hold."""
    buffer = ctypes.create_string_buffer(content, len(content))
    local = iovecs([(ctypes.addressof(buffer), len(content))])
    remote = iovecs([(start, len(content))])
    done = syscall("process_vm_writev", 311, pid, local, 1, remote, 1, 0)
    if done != len(content):
        raise OSError(14, f"process_vm_writev: {done} of {len(content)} bytes at {start:#x} of task {pid}")


def writev(pid: int, address: int, size: int, start: int) -> int:
    """Copy `size` bytes from our `address` to `start` in task `pid`; how many there were room for."""
    local, remote = iovecs([(address, size)]), iovecs([(start, size)])
    return syscall("process_vm_writev", 311, pid, local, 1, remote, 1, 0)


def scatter(pid: int, pieces: Sequence[tuple[int, int, int]]) -> None:
    """Copy (our address, size, address in task `pid`) each; OSError where not all of them can be written."""
    for first in range(0, len(pieces), IOV_MAX):
        batch = pieces[first : first + IOV_MAX]
        local = iovecs([(ours, size) for ours, size, _ in batch])
        remote = iovecs([(theirs, size) for _, size, theirs in batch])
        done = syscall("process_vm_writev", 311, pid, local, len(batch), remote, len(batch), 0)
        if done != (expected := sum(size for _, size, _ in batch)):
            raise OSError(14, f"process_vm_writev: {done} of {expected} bytes of task {pid}")


def equal(one: int, other: int, size: int) -> bool:
    """Whether the `size` bytes at two addresses of this process are the same."""
    return memcmp(one, other, size) == 0
