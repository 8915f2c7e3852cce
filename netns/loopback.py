"""The hot and trivial case: bring lo up, by netdevice(7) ioctls, without netlink."""

from __future__ import annotations

import fcntl
import socket
import struct

from netns.enter import run_in
from netns.errors import NetnsError

SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP = 0x1
_REQUEST = struct.Struct("16sh22x")


def _up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        answer = fcntl.ioctl(sock, SIOCGIFFLAGS, _REQUEST.pack(name.encode(), 0))
        _, flags = _REQUEST.unpack(answer)
        if not flags & IFF_UP:
            fcntl.ioctl(sock, SIOCSIFFLAGS, _REQUEST.pack(name.encode(), flags | IFF_UP))


def bring_up(netns_fd: int | None, name: str = "lo") -> None:
    """Set a link up in a namespace.  Raises NetnsError that names it."""
    try:
        run_in(netns_fd, lambda: _up(name))
    except OSError as err:
        raise NetnsError(f"cannot bring {name} up in its network namespace: {err.strerror}", err.errno) from err
