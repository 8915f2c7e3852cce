"""A pid namespace for children in which nobody has been yet; with "gone", nobody is any more.  A child has one, too."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from lib import workload

CLONE_NEWPID = 0x20000000
libc = ctypes.CDLL(None, use_errno=True)


def first() -> str:
    """What a child is there, and one of that."""
    told, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(telling, f"{os.getpid()} ".encode())
        if os.fork() == 0:
            os.write(telling, f"{os.getpid()}".encode())
            os._exit(0)
        os.wait()
        os._exit(0)
    os.close(telling)
    os.waitpid(pid, 0)
    found = b"".join(iter(lambda: os.read(told, 100), b"")).decode()
    os.close(told)
    return found


with workload() as check:
    (asked, ask), (answered, answer) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        assert libc.unshare(CLONE_NEWPID) == 0
        os.write(answer, b"ready")
        os.read(asked, 1)
        os.write(answer, first().encode())
        os._exit(0)
    check.equal(os.read(answered, 100), b"ready", "the child")
    assert libc.unshare(CLONE_NEWPID) == 0
    if "gone" in sys.argv:
        assert first() == "1 2"
    check.wait()
    os.write(ask, b"?")
    check.equal(os.read(answered, 100), b"1 2", "pids in the child's")
    os.waitpid(child, 0)
    if "gone" not in sys.argv:
        check.equal(first(), "1 2", "pids in ours")
