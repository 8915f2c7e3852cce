"""Reading the memory of a task in bulk."""

from __future__ import annotations

import errno
import os

from cr.dump.pages import Span
from cr.kernel import batch, proc, vm

_PREAD64, _PROCESS_VM_READV = 17, 310


class TaskMemory:
    """The memory of a process, open until `close`.

    process_vm_readv(2) is the fastest way, but pins the pages, and with that ends their sharing with relatives (copy on
    write; mm/gup.c, gup_must_unshare): the tree would take more memory for having been dumped.  So pages that are
    `shared` are read from /proc/PID/mem; and so are those that the task itself may not read (PROT_NONE).

    Memory of a `living` task may be gone when its turn comes: it is zeros.
    """

    def __init__(self, pid: int, *, shared: bool, living: bool) -> None:
        self._pid, self._shared, self._living = pid, shared, living
        self._fd = -1
        try:
            self._fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            if not living:
                raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def is_gone(self) -> bool:
        """Whether the living task has ended."""
        return self._fd < 0

    def ask(self, calls: batch.Batch, pieces: list[Span], address: int) -> None:
        """Append the system calls that read these (start, length) pieces to our `address`."""
        if not self._shared:
            size = sum(length for _, length in pieces)
            local, remote = vm.iovecs([(address, size)]), vm.iovecs(pieces)
            calls.call(_PROCESS_VM_READV, self._pid, local, 1, remote, len(pieces), 0, expect=size)
            return
        rows = []
        for start, length in pieces:
            rows.append((_PREAD64, self._fd, address, length, start, 0, 0, length))
            address += length
        calls.extend(rows)

    def read(self, pieces: list[Span], view: memoryview) -> None:
        """Fill `view` with these (start, length) pieces, whatever is in the way."""
        position = 0
        for start, length in pieces:
            done = 0
            while done < length:
                done += self._read_some(start + done, view[position + done : position + length])
            position += length

    def _read_some(self, address: int, view: memoryview) -> int:
        """How many bytes came; of a page that a living task has unmapped meanwhile, zeros."""
        if done := self._preadv(address, view):
            return done
        if not self._living:
            if proc.stat(self._pid).is_ending:
                raise ProcessLookupError(errno.ESRCH, f"process {self._pid} has ended, and its memory is gone")
            raise OSError(errno.EIO, f"no memory at {address:#x} of process {self._pid}")
        page = min(len(view), vm.PAGE_SIZE - address % vm.PAGE_SIZE)
        view[:page] = bytes(page)
        return page

    def _preadv(self, address: int, view: memoryview) -> int:
        try:
            return 0 if self.is_gone else os.preadv(self._fd, [view], address)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return 0
