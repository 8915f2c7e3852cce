"""inotify watches on an overlay: files and directories of either layer, and of both, which have no usable handles."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from lib import workload

IN_ATTRIB, IN_CREATE = 4, 0x100
NAMES = ("", "both", "lower/deep/down", "upper", "lower/file", "both/same", "both/other")

libc = ctypes.CDLL(None, use_errno=True)


def watch(fd: int, path: Path) -> int:
    number = int(libc.inotify_add_watch(fd, os.fsencode(path), IN_ATTRIB | IN_CREATE))
    assert number > 0, os.strerror(ctypes.get_errno())
    return number


def told(fd: int) -> list[tuple[int, int]]:
    """(watch, kind of event) of what has happened."""
    try:
        data = os.read(fd, 1 << 16)
    except BlockingIOError:
        return []
    found = []
    while data:
        number, mask, _, length = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4, 8, 12))
        found.append((number, mask & 0xFFF))
        data = data[16 + length :]
    return found


with workload() as check:
    top = Path(sys.argv[2])
    fd = int(libc.inotify_init1(os.O_NONBLOCK))
    numbers = {name: watch(fd, top / name) for name in NAMES}
    check.wait()
    for name, number in numbers.items():
        told(fd)
        os.utime(top / name)
        check.equal((number, IN_ATTRIB) in told(fd), True, f"an event of {name or 'the root'}")
    (top / "both" / "new").touch()
    check.equal((numbers["both"], IN_CREATE) in told(fd), True, "a new file in a directory of both layers")
