"""Descriptors of namespaces: the task's own ones and those of a child; they can be entered."""

from __future__ import annotations

import ctypes
import os
import signal
import socket

from lib import DIRECTORY, workload

CLONE_NEWUTS = 0x4000000
libc = ctypes.CDLL(None, use_errno=True)

with workload() as check:
    own = os.open("/proc/self/ns/uts", os.O_RDONLY)
    host = os.open("/proc/self/ns/ipc", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        libc.unshare(CLONE_NEWUTS)
        socket.sethostname("inner")
        (DIRECTORY / "inner-ready").touch()
        signal.pause()
    while not (DIRECTORY / "inner-ready").exists():
        os.sched_yield()
    inner = os.open(f"/proc/{child}/ns/uts", os.O_RDONLY)
    check.wait()
    check.equal(os.readlink(f"/proc/self/fd/{own}"), os.readlink("/proc/self/ns/uts"), "own namespace")
    check.equal(os.readlink(f"/proc/self/fd/{host}"), os.readlink("/proc/self/ns/ipc"), "the host's namespace")
    check.equal(libc.setns(inner, 0), 0, "result of entering the child's namespace")
    check.equal(socket.gethostname(), "inner", "host name there")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
