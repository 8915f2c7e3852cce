"""A child that reads the clock all the time, by machine code that calls the vDSO, and counts in between."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys
from pathlib import Path

from lib import workload

TIME = ctypes.CDLL(None).dlsym
TIME.restype, TIME.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]


def vdso_function(name: bytes) -> int:
    library = ctypes.CDLL("linux-vdso.so.1")
    return int(TIME(library._handle, name))


def code(function: int) -> bytes:
    """Call it with (1, room on the stack), count down from 1000, for ever."""
    count = b"\xb9" + struct.pack("<I", 1000) + b"\xff\xc9\x75\xfc"
    call = b"\xbf\x01\0\0\0\x48\x8d\x74\x24\x08\x48\xb8" + struct.pack("<Q", function) + b"\xff\xd0"
    loop = call + count
    return b"\x48\x83\xec\x28" + loop + b"\xeb" + bytes([256 - len(loop) - 2])


with workload() as check:
    function = vdso_function(b"__vdso_clock_gettime")
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(code(function))
    pid = os.fork()
    if pid == 0:
        ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(area)))()
        sys.exit(1)
    check.wait()
    check.that(Path(f"/proc/{pid}/stat").read_text().split()[2] == "R", "the reader does not run any more")
    os.kill(pid, signal.SIGKILL)
    check.equal(os.waitpid(pid, 0)[1], signal.SIGKILL, "its end")
