"""Links by ioctl (netdevice(7)), for those who need no more than that: `socket` alone costs 4 ms to import."""

from __future__ import annotations

import fcntl
import os
import struct

from cr.kernel.libc import syscall

_AF_INET, _SOCK_DGRAM = 2, 2
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def set_link_up(name: str) -> None:
    """Set a link of our network namespace up."""
    control = syscall("socket", 41, _AF_INET, _SOCK_DGRAM | os.O_CLOEXEC, 0)
    try:
        request = struct.pack("16sH22x", name.encode(), 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | _IFF_UP))
    finally:
        os.close(control)
