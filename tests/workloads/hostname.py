"""A host name and a domain name of its own; with the argument "child", another one in a child."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from lib import DIRECTORY, workload

CLONE_NEWUTS = 0x4000000
libc = ctypes.CDLL(None, use_errno=True)


def child() -> int:
    """A child in a uts namespace of its own, which writes its host name to a file on SIGUSR1."""
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        libc.unshare(CLONE_NEWUTS)
        socket.sethostname("inner")
        (DIRECTORY / "inner-ready").touch()
        signal.sigwait([signal.SIGUSR1])
        (DIRECTORY / "inner-name").write_text(socket.gethostname())
        os._exit(0)
    while not (DIRECTORY / "inner-ready").exists():
        os.sched_yield()
    return pid


with workload() as check:
    socket.sethostname("frog-1")
    libc.setdomainname(b"pond", 4)
    nested = child() if "child" in sys.argv else 0
    check.wait()
    check.equal(socket.gethostname(), "frog-1", "host name")
    check.equal(Path("/proc/sys/kernel/domainname").read_text(), "pond\n", "domain name")
    if nested:
        os.kill(nested, signal.SIGUSR1)
        check.equal(os.waitpid(nested, 0)[1], 0, "exit code of the child")
        check.equal((DIRECTORY / "inner-name").read_text(), "inner", "host name of the child")
