"""Holds what a dump without options refuses."""

from __future__ import annotations

import ctypes
import fcntl
import os

from lib import DIRECTORY, workload

os.chdir(DIRECTORY)
with workload() as check:
    locked = os.open("locked", os.O_RDWR | os.O_CREAT)
    fcntl.flock(locked, fcntl.LOCK_EX)
    linked = os.open("linked", os.O_RDWR | os.O_CREAT)
    os.mkdir("elsewhere")
    os.link("linked", "elsewhere/other-name")
    os.unlink("linked")
    large = os.open("large", os.O_RDWR | os.O_CREAT)
    os.write(large, b"x" * (3 << 20))
    os.fsync(large)
    os.unlink("large")
    if ctypes.CDLL(None).syscall(323, 0) >= 0:
        (DIRECTORY / "userfaultfd").touch()
    if ctypes.CDLL(None).syscall(447, 0) >= 0:
        (DIRECTORY / "memfd_secret").touch()
    check.wait()
    check.equal(os.pread(large, 1, 0), b"x", "large file")
