"""Run a command in new user, pid and network namespaces; only id 0 is known there, and setgroups(2) is allowed.

unshare(1) always denies it.
"""

from __future__ import annotations

import ctypes
import os
import sys

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

me = os.getpid()
reader, writer = os.pipe()
mapper = os.fork()
if mapper == 0:
    os.read(reader, 1)
    for name in ("gid_map", "uid_map"):
        with open(f"/proc/{me}/{name}", "w") as file:
            file.write("0 0 1")
    os._exit(0)
assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET) == 0
os.write(writer, b"x")
assert os.waitpid(mapper, 0)[1] == 0
os.close(reader)
os.close(writer)
child = os.fork()
if child == 0:
    os.setsid()
    os.execvp(sys.argv[1], sys.argv[1:])
os.waitpid(child, 0)
