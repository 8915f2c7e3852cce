"""Making persistent tun and tap links.  Documentation/networking/tuntap.rst; ioctls of linux/if_tun.h."""

from __future__ import annotations

import fcntl
import os
import struct

from netns.errors import NetnsError
from netns.model import Link, TunData

TUNSETIFF, TUNSETPERSIST, TUNSETOWNER, TUNSETGROUP = 0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE
TUNSETIFINDEX, TUNSETSNDBUF, TUNSETVNETHDRSZ = 0x400454DA, 0x400454D4, 0x400454D8
SETTABLE = 0x0001 | 0x0002 | 0x0100 | 0x1000 | 0x4000
"""IFF_TUN, IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_VNET_HDR."""


def make(link: Link) -> None:
    """Make the link in the calling thread's namespace, with its index, and let it persist.

    Raises NetnsError that names it.
    """
    if link.tun is None:
        raise NetnsError(f"saved link {link.name} is a tun without its settings; the image is damaged")
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            _make(fd, link.name, link.index, link.tun)
        finally:
            os.close(fd)
    except OSError as err:
        raise NetnsError(f"cannot make tun link {link.name} through /dev/net/tun: {err.strerror}", err.errno) from err


def _make(fd: int, name: str, index: int, tun: TunData) -> None:
    if index:
        fcntl.ioctl(fd, TUNSETIFINDEX, struct.pack("=I", index))
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("=16sH22x", name.encode(), tun.flags & SETTABLE))
    by_value: list[tuple[int, int]] = [(TUNSETOWNER, tun.owner), (TUNSETGROUP, tun.group)]
    for request, number in by_value:
        if number >= 0:
            fcntl.ioctl(fd, request, number)
    by_address: list[tuple[int, int]] = [(TUNSETVNETHDRSZ, tun.vnethdr), (TUNSETSNDBUF, tun.sndbuf)]
    for request, number in by_address:
        if number > 0:
            fcntl.ioctl(fd, request, struct.pack("=i", number))
    fcntl.ioctl(fd, TUNSETPERSIST, 1)
