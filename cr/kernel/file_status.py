"""statx(2): what os.stat does not tell, the mount that a path leads into."""

from __future__ import annotations

import ctypes

from cr.kernel.libc import libc

_AT_FDCWD = -100
_BASIC_STATS, _MNT_ID = 0x7FF, 0x1000
_SIZE = 256
_ATIME = slice(0x40, 0x50)

_statx = libc.statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p]
"""int dirfd, const char *path, int flags, unsigned mask, struct statx *buffer"""


def seal(path: str) -> bytes:
    """A value that is the same as long as a file is: its mount, inode, kind, permissions, links, size, times but atime.

    Links at the end of the path are followed.  Raises OSError.
    """
    buffer = ctypes.create_string_buffer(_SIZE)
    if _statx(_AT_FDCWD, path.encode(errors="surrogateescape"), 0, _BASIC_STATS | _MNT_ID, buffer):
        code = ctypes.get_errno()
        raise OSError(code, f"statx: {path}")
    found = bytearray(buffer.raw)
    found[_ATIME] = bytes(16)
    return bytes(found)
