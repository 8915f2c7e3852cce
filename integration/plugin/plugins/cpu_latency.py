"""Carries /dev/cpu_dma_latency over: a limit on how deep processors may sleep, in force as long as the file is open.

The value belongs to the open file (linux: Documentation/power/pm_qos_interface.rst); a read gives the strictest one of
all, which is at least as strict as this file's own.
"""

from __future__ import annotations

import os
import stat

from cr.plugin import File, Plugin

DEVICE = "/dev/cpu_dma_latency"
SIZE = 4  # a signed number of microseconds


class CpuLatency(Plugin):
    """One request for low latency."""

    name = "cpu-latency"

    def knows_file(self, file: File) -> bool:
        return stat.S_ISCHR(file.stat.st_mode) and file.stat.st_rdev == os.stat(DEVICE).st_rdev

    def dump_file(self, file: File) -> bytes:
        return os.pread(file.open(), SIZE, 0)

    def restore_file(self, data: bytes) -> int:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        os.write(fd, data)
        return fd
