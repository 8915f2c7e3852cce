"""openat2(2) and what else Python's os lacks for files."""

from __future__ import annotations

import ctypes
import os
import struct

from cr.kernel.libc import syscall

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

F_SETSIG, F_GETSIG = 10, 11
F_SETOWN_EX, F_GETOWN_EX = 15, 16
F_GETOWNER_UIDS = 17
F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP = 0, 1, 2
O_PATH = os.O_PATH


def open_in_root(root_fd: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open a path as a process whose root directory is `root_fd` would; close-on-exec."""
    how = struct.pack("<QQQ", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT)
    return syscall("openat2", 437, root_fd, os.fsencode(path), ctypes.create_string_buffer(how, 24), 24)
