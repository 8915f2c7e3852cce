"""POSIX, OFD and flock locks, and leases, of a parent and its child."""

from __future__ import annotations

import fcntl
import os
import signal
import struct

from lib import DIRECTORY, workload

os.chdir(DIRECTORY)
FLOCK = "hhqqi4x"


def holder(path: str, start: int, length: int, command: int = fcntl.F_GETLK) -> tuple[int, int, int, int]:
    """Type, start, length and pid of the lock that stands against ours."""
    fd = os.open(path, os.O_RDWR)
    reply = fcntl.fcntl(fd, command, struct.pack(FLOCK, fcntl.F_WRLCK, 0, start, length, 0))
    kind, _, found, size, pid = struct.unpack(FLOCK, reply)
    os.close(fd)
    return kind, found, size, pid


with workload() as check:
    posix = os.open("posix", os.O_RDWR | os.O_CREAT)
    fcntl.lockf(posix, fcntl.LOCK_EX, 5, 2)
    fcntl.lockf(posix, fcntl.LOCK_SH, 0, 100)
    ofd = os.open("ofd", os.O_RDWR | os.O_CREAT)
    fcntl.fcntl(ofd, 37, struct.pack(FLOCK, fcntl.F_WRLCK, 0, 10, 10, 0))
    flock = os.open("flock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(flock, fcntl.LOCK_EX)
    os.close(os.open("lease", os.O_RDWR | os.O_CREAT))
    lease = os.open("lease", os.O_RDONLY)
    fcntl.fcntl(lease, 1024, fcntl.F_RDLCK)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        own = os.open("posix", os.O_RDWR)
        fcntl.lockf(own, fcntl.LOCK_EX, 1, 50)
        os.write(tell, b"x")
        signal.pause()
    os.read(ready, 1)
    check.wait()
    prober = os.fork()  # POSIX locks do not stand against their own process
    if prober == 0:
        check.equal(holder("posix", 0, 10), (fcntl.F_WRLCK, 2, 5, os.getppid()), "POSIX lock")
        check.equal(holder("posix", 200, 1), (fcntl.F_RDLCK, 100, 0, os.getppid()), "shared POSIX lock")
        check.equal(holder("posix", 50, 1), (fcntl.F_WRLCK, 50, 1, child), "the child's lock")
        print(check.failures, flush=True)
        os._exit(len(check.failures))
    check.equal(os.waitpid(prober, 0)[1], 0, "locks as another process sees them")
    check.equal(holder("ofd", 0, 100, 36), (fcntl.F_WRLCK, 10, 10, -1), "OFD lock")
    again = os.open("flock", os.O_RDWR)
    try:
        fcntl.flock(again, fcntl.LOCK_SH | fcntl.LOCK_NB)
        check.that(False, "the flock lock is gone")
    except BlockingIOError:
        fcntl.flock(flock, fcntl.LOCK_UN)
        fcntl.flock(again, fcntl.LOCK_SH | fcntl.LOCK_NB)
    check.equal(fcntl.fcntl(lease, 1025), fcntl.F_RDLCK, "lease")
    fcntl.fcntl(lease, 1024, fcntl.F_UNLCK)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
