"""autofs (Documentation/filesystems/autofs.rst): its ioctls on /dev/autofs and on an open root directory."""

from __future__ import annotations

import fcntl
import struct

DEVICE = "/dev/autofs"
CATATONIC_IOCTL = 0x9362
SET_TIMEOUT_IOCTL = 0xC0089364
SET_PIPE_IOCTL = 0xC0189378
VERSION_IOCTL = 0xC0189371
_REQUEST = struct.Struct("<IIIiii")
"""struct autofs_dev_ioctl with one argument of 32 bits: version 1.0, size, descriptor of the mount, argument"""


def device_request(root: int, argument: int = 0) -> bytes:
    """The argument of an ioctl of /dev/autofs; `root` is a descriptor of the root directory, -1 for none."""
    return _REQUEST.pack(1, 0, _REQUEST.size, root, argument, 0)


def set_timeout(root: int, seconds: int) -> None:
    """After how long without use mounts expire, 0 for never."""
    fcntl.ioctl(root, SET_TIMEOUT_IOCTL, struct.pack("<Q", seconds))


def make_catatonic(root: int) -> None:
    """From now on nobody is asked to mount anything, and nobody waits for that."""
    fcntl.ioctl(root, CATATONIC_IOCTL)
