"""Has a log, a program and a directory open; all of them may be others after the restore."""

from __future__ import annotations

import os
import shutil

from lib import DIRECTORY, workload

os.chdir(DIRECTORY)
with workload() as check:
    log = os.open("log", os.O_RDWR | os.O_CREAT)
    os.write(log, b"before\n")
    shutil.copy("/bin/true", "program")
    program = os.open("program", os.O_RDONLY)
    os.mkdir("place")
    os.open("place", os.O_RDONLY)
    check.wait()
    os.write(log, b"after\n")
    check.equal(os.pread(log, 13, 0), b"before\nafter\n", "the log, from the position on that it had")
