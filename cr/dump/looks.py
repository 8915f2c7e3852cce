"""What /proc and the kernel tell of a task's files, byte by byte: looked at before the freeze, and again after it.

All looks at a task are one batch of system calls, which is prepared when time does not count.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator

from cr.contract.dumping import DumpTask, OpenFile
from cr.kernel import batch
from cr.kernel.files import F_GETOWN_EX, F_GETSIG

_READ, _CLOSE, _FCNTL, _OPENAT, _READLINKAT, _STATX, _PIDFD_GETFD = 0, 3, 72, 257, 267, 332, 438
_AT_FDCWD = -100 & (1 << 64) - 1
_BASIC_STATS, _MNT_ID = 0x7FF, 0x1000
_INFO, _LINK, _STATUS, _OWNER = slice(0, 512), slice(512, 1024), slice(1024, 1280), slice(1280, 1288)
_SIZE = _OWNER.stop
# struct statx: nlink, mode, ino, size, ctime, mtime, dev_major, dev_minor
_FIELDS = struct.Struct("<16xI8xH2xQQ48xqI4xqI12xII")


class Look:
    """What was found at one place: the text of a fdinfo, a link, a struct statx, the owner of an open file."""

    def __init__(self, start: int) -> None:
        self.start = start
        """index of its first call"""
        self.opened: list[tuple[int, int]] = []
        """indices of calls that open and close a descriptor of ours"""
        self._room = batch.Room(_SIZE)
        self.before = b""

    def room(self, part: slice) -> int:
        """Where a call leaves what it finds."""
        return self._room.address + int(part.start)

    @property
    def found(self) -> bytes:
        return self._room.content

    def tells(self, file: OpenFile) -> bool:
        """Whether `file`, read before and after the first look, was the same all the time, and has no owner."""
        raw, status = self.before, file.stat
        nlink, mode, ino, size, c_s, c_ns, m_s, m_ns, major, minor = _FIELDS.unpack_from(raw, _STATUS.start)
        return (
            (file.fd < 0 or raw[_INFO].rstrip(b"\0") == os.fsencode(file.info_text))
            and raw[_LINK].rstrip(b"\0") == os.fsencode(file.link)
            and (nlink, mode, ino, size) == (status.st_nlink, status.st_mode, status.st_ino, status.st_size)
            and os.makedev(major, minor) == status.st_dev
            and (c_s * 10**9 + c_ns, m_s * 10**9 + m_ns) == (status.st_ctime_ns, status.st_mtime_ns)
            and not any(raw[_OWNER.start + 4 : _OWNER.stop])
        )


class Looks:
    """All that is looked at in one process."""

    def __init__(self, task: DumpTask) -> None:
        self.pid, self._pidfd = task.pid, task.pidfd
        self._calls = batch.Batch()
        self._looks: list[Look] = []
        self._same: set[int] | None = None

    def at_descriptor(self, file: OpenFile) -> Look | None:
        """A first look at a descriptor; None where there is more to be told than usual, or it changes all the time."""
        look, calls = Look(len(self._calls)), self._calls
        path, length = f"/proc/{self.pid}/fdinfo/{file.fd}".encode() + b"\0", len(os.fsencode(file.info_text))
        fd = calls.call(_OPENAT, _AT_FDCWD, path, os.O_RDONLY | os.O_CLOEXEC, expect=batch.ANY)
        calls.call_on(fd, _READ, look.room(_INFO), _INFO.stop, expect=length)
        look.opened.append((fd, calls.call_on(fd, _CLOSE, expect=0)))
        self._at(f"fd/{file.fd}", look, file.link)
        if not file.flags & os.O_PATH:  # such descriptors have no owner
            ours = calls.call(_PIDFD_GETFD, self._pidfd, file.fd, 0, expect=batch.ANY)
            calls.call_on(ours, _FCNTL, F_GETOWN_EX, look.room(_OWNER), expect=0)
            calls.call_on(ours, _FCNTL, F_GETSIG, expect=0)
            look.opened.append((ours, calls.call_on(ours, _CLOSE, expect=0)))
        return self._first(look) if length < _INFO.stop else None

    def at_path(self, name: str, link: str) -> Look | None:
        """A first look at what a link of /proc/PID leads to."""
        look = Look(len(self._calls))
        self._at(name, look, link)
        return self._first(look)

    def _at(self, name: str, look: Look, link: str) -> None:
        path = f"/proc/{self.pid}/{name}".encode() + b"\0"
        size, length = _LINK.stop - _LINK.start, len(os.fsencode(link))
        self._calls.call(_READLINKAT, _AT_FDCWD, path, look.room(_LINK), size, expect=min(length, size))
        self._calls.call(_STATX, _AT_FDCWD, path, 0, _BASIC_STATS | _MNT_ID, look.room(_STATUS), expect=0)

    def _first(self, look: Look) -> Look | None:
        self._looks.append(look)
        if self._run_from(look.start) < len(self._calls):
            return None
        look.before = look.found
        return look

    def is_same(self, look: Look) -> bool:
        """After the freeze: whether nothing has changed; all are looked at once."""
        if self._same is None:
            self._same = set(self._look_again())
        return look.start in self._same

    def _look_again(self) -> Iterator[int]:
        reached = 0
        for number, look in enumerate(self._looks):
            if reached <= look.start:
                reached = self._run_from(look.start)
            end = self._looks[number + 1].start if number + 1 < len(self._looks) else len(self._calls)
            if end <= reached and look.before and look.found == look.before:
                yield look.start

    def _run_from(self, start: int) -> int:
        """The index of the call that stops the batch; what its look had opened is closed."""
        reached = self._calls.run(start)
        if reached < len(self._calls):
            stopped = bisect_right(self._looks, reached, key=lambda look: look.start) - 1
            for opened, closed in self._looks[stopped].opened:
                if opened < reached <= closed:
                    os.close(self._calls.result(opened))
        return reached
