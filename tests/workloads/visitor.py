"""Runs a command in the pid namespace of a child of its own (setns(2)), outside of which it stays itself.

visitor.py [user] COMMAND...   "user": the child is in a user namespace, too, which the command does not join.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

CLONE_NEWUSER, CLONE_NEWPID = 0x10000000, 0x20000000
libc = ctypes.CDLL(None, use_errno=True)


def host(users: bool) -> int:
    """A process that is the first of a new pid namespace."""
    told, telling = os.pipe()
    between = os.fork()
    if between == 0:
        os.setsid()
        assert libc.unshare(CLONE_NEWPID | (CLONE_NEWUSER if users else 0)) == 0, os.strerror(ctypes.get_errno())
        first = os.fork()
        os.close(0)
        os.close(1)
        if first == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            os.write(telling, b"x")
            while True:
                signal.pause()
        os.waitpid(first, 0)
        os._exit(0)
    os.read(told, 1)
    os.close(told)
    os.close(telling)
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        assert file.read().split() == [str(between)]
    with open(f"/proc/{between}/task/{between}/children") as file:
        return int(file.read())


users = sys.argv[1] == "user"
first = os.pidfd_open(host(users))
assert libc.setns(first, CLONE_NEWPID) == 0, os.strerror(ctypes.get_errno())
command = sys.argv[1 + users :]
inner = os.fork()
if inner == 0:
    os.execvp(command[0], command)
_, status = os.waitpid(inner, 0)
signal.pidfd_send_signal(first, signal.SIGKILL)
os._exit(os.waitstatus_to_exitcode(status))
