"""POSIX, OFD and flock locks, and leases, of a parent and its child."""

from __future__ import annotations

import fcntl
import os
import signal
import struct

from lib import COMMON, DIRECTORY, workload

os.chdir(DIRECTORY)
FLOCK = "hhqqi4x"


def holder(path: str, start: int, length: int, command: int = fcntl.F_GETLK) -> tuple[int, int, int, int]:
    """Type, start, length and pid of the lock that stands against ours."""
    fd = os.open(path, os.O_RDWR)
    reply = fcntl.fcntl(fd, command, struct.pack(FLOCK, fcntl.F_WRLCK, 0, start, length, 0))
    kind, _, found, size, pid = struct.unpack(FLOCK, reply)
    os.close(fd)
    return kind, found, size, pid


def breaking(path: str, lease: int, mode: int) -> int:
    """A descriptor with a lease that somebody else is waiting for."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT))
    fd = os.open(path, os.O_RDONLY)
    fcntl.fcntl(fd, 1024, lease)
    try:
        os.open(path, mode | os.O_NONBLOCK)
    except BlockingIOError:
        return fd
    raise RuntimeError("the lease did not hold")


broken_signals: list[int] = []
signal.signal(signal.SIGIO, lambda signo, _: broken_signals.append(signo))
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
    broken_to = {"given up": (fcntl.F_RDLCK, os.O_WRONLY), "made weaker": (fcntl.F_WRLCK, os.O_RDONLY)}
    broken = {name: breaking(name, *how) for name, how in broken_to.items()}
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
    check.equal(fcntl.fcntl(broken["given up"], 1025), fcntl.F_UNLCK, "a lease to be given up")
    check.equal(fcntl.fcntl(broken["made weaker"], 1025), fcntl.F_RDLCK, "a lease to be made weaker")
    check.that(COMMON or len(broken_signals) == 2, "a break was told again")
    fcntl.fcntl(broken["made weaker"], 1024, fcntl.F_RDLCK)
    os.close(os.open("made weaker", os.O_RDONLY | os.O_NONBLOCK))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
