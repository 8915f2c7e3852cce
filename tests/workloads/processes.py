"""pidfds of the living and the dead; a descriptor table that two processes share."""

from __future__ import annotations

import ctypes
import os
import select
import signal

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)
CLONE_FILES, SIGCHLD = 0x400, 17


def target(pidfd: int) -> str:
    with open(f"/proc/self/fdinfo/{pidfd}") as info:
        return next(line.split()[1] for line in info if line.startswith("Pid:"))


with workload() as check:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    own = os.pidfd_open(os.getpid())
    alive = os.pidfd_open(child, os.O_NONBLOCK)
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    dead = os.pidfd_open(gone)
    os.waitpid(gone, 0)
    r, w = os.pipe()
    sharing = libc.syscall(56, CLONE_FILES | SIGCHLD, None, None, None, None)
    if sharing == 0:
        fd = -1
        while True:  # asked for by signal, answers by descriptors
            signal.sigwait([signal.SIGUSR1, signal.SIGTERM])
            os.dup2(w, 77)
            os.write(w, b"x")
    check.wait()
    check.equal(
        (target(own), target(alive), target(dead)), (str(os.getpid()), str(child), "-1"), "targets of the pidfds"
    )
    check.that(select.select([dead], [], [], 0)[0], "the pidfd of a dead process is not readable")
    check.that(not select.select([alive], [], [], 0)[0], "the pidfd of a live process is readable")
    os.kill(sharing, signal.SIGUSR1)
    check.equal(os.read(r, 1), b"x", "the other process")
    check.equal(os.fstat(77).st_ino, os.fstat(w).st_ino, "its new descriptor is ours as well")
    os.kill(child, signal.SIGKILL)
    check.equal(select.select([alive], [], [], 10)[0], [alive], "its end is seen")
    os.kill(sharing, signal.SIGKILL)
    for pid in (child, sharing):
        os.waitpid(pid, 0)
