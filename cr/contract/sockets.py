"""What all kinds of sockets have in common."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING

from cr.kernel.sockets import lent

if TYPE_CHECKING:
    from cr.contract.dumping import OpenFile


def family_of(file: OpenFile) -> int | None:
    """AF_* of a socket's descriptor, None for other files."""
    if not (stat.S_ISSOCK(file.stat.st_mode) and file.link.startswith("socket:[")):
        return None
    if file.family is None:
        with lent(file.local) as sock:
            file.family = int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))
    return file.family
