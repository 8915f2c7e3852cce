"""Descriptor 0 is one end of a socket pair whose other end is outside of the tree."""

from __future__ import annotations

import socket
import sys

from lib import workload

with workload() as check:
    sock = socket.socket(fileno=0)
    check.wait()
    sock.settimeout(5)
    if "alone" in sys.argv:
        check.equal(sock.recv(100), b"", "what a peer that is gone says")
    else:
        check.equal(sock.recv(100), b"question", "data of the new peer")
        sock.send(b"answer")
