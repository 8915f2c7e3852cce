"""A socket made in one network namespace, by a task that is in another one now."""

from __future__ import annotations

import ctypes
import socket

from lib import workload

NEWNET = 0x40000000

with workload() as check:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    name = server.getsockname()
    if ctypes.CDLL(None).unshare(NEWNET):
        raise OSError("unshare")
    check.wait()
    check.equal(server.getsockname(), name, "name of the socket")
