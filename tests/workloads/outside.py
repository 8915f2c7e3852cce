"""Has a file and the end of a pipe that are to be somebody else's after the restore."""

from __future__ import annotations

import os
import sys

from lib import DIRECTORY, workload

os.chdir(DIRECTORY)
with workload() as check:
    (DIRECTORY / "plain").write_text("plain")
    plain = os.open("plain", os.O_RDONLY)
    os.dup2(os.open("external", os.O_RDWR | os.O_CREAT), 50)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.dup2(writer, 51)
    os.close(reader)
    os.close(writer)
    for fd in range(3, 50):
        if fd != plain:
            try:
                os.close(fd)
            except OSError:
                continue
    if "pidfd" in sys.argv:
        os.pidfd_open(os.getppid())
    check.wait()
    check.that(not os.get_blocking(51), "the pipe that was given blocks")
    os.write(50, b"into our file")
    if "pidfd" not in sys.argv:
        os.write(51, b"through our pipe")
