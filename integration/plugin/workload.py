"""Asks for a latency of 40 microseconds, says so in a file, and goes on asking."""

from __future__ import annotations

import os
import signal
import struct
import sys

fd = os.open("/dev/cpu_dma_latency", os.O_RDWR)
os.write(fd, struct.pack("<i", 40))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
while True:
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(str(struct.unpack("<i", os.pread(fd, 4, 0))[0]))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    signal.sigwait({signal.SIGUSR1})
