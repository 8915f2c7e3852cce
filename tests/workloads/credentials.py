"""Ids, groups, capabilities; different ones in a thread."""

from __future__ import annotations

import ctypes
import struct
import threading

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
_FIELDS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")


def state() -> dict[str, object]:
    with open("/proc/thread-self/status") as file:
        lines = dict(line.rstrip("\n").partition(":")[::2] for line in file)
    found: dict[str, object] = {name: lines[name].split() for name in _FIELDS}
    found["securebits"] = libc.prctl(27, 0, 0, 0, 0)
    return found


def capset(effective: int, permitted: int, inheritable: int) -> None:
    data = struct.pack("<6I", effective, permitted, inheritable, 0, 0, 0)
    assert libc.syscall(126, struct.pack("<Ii", 0x20080522, 0), data) == 0


def change(uids: tuple[int, int, int], fsuid: int, keep: int) -> None:
    """By raw calls: they change this thread alone, unlike the C library's functions."""
    groups = (ctypes.c_uint32 * 3)(7, 70000, 9)
    assert libc.syscall(116, 3, groups) == 0
    assert libc.syscall(119, 11, 12, 13) == 0
    libc.syscall(123, 14)
    assert libc.prctl(28, 1 << 2 | 1 << 4, 0, 0, 0) == 0  # no setuid fixup, keep capabilities
    assert libc.syscall(117, *uids) == 0
    libc.syscall(122, fsuid)
    assert libc.prctl(24, 3, 0, 0, 0) == 0  # CAP_FOWNER leaves the bounding set
    capset(keep, keep, keep)
    assert libc.prctl(47, 2, 10, 0, 0) == 0  # CAP_NET_BIND_SERVICE is ambient


with workload() as check:
    in_thread: dict[str, object] = {}
    prepared, go = threading.Event(), threading.Event()

    def other() -> None:
        change((3000, 3001, 3002), 3003, 1 << 10 | 1 << 13)
        libc.prctl(38, 1, 0, 0, 0)
        in_thread["before"] = state()
        prepared.set()
        go.wait()
        in_thread["after"] = state()

    thread = threading.Thread(target=other)
    thread.start()
    prepared.wait()
    change((0, 2001, 0), 2003, 1 << 10 | 1 << 7 | 1 << 1)
    before = state()

    check.wait()

    for what, value in state().items():
        check.equal(value, before[what], what)
    go.set()
    thread.join()
    check.equal(in_thread["after"], in_thread["before"], "credentials of the thread")
