"""Descriptor 0 is a terminal whose other end is somebody else's, descriptor 50 a memfd that is to be replaced."""

from __future__ import annotations

import os

from lib import workload

with workload() as check:
    os.dup2(os.memfd_create("shared"), 50)
    os.write(50, b"before")
    check.wait()
    check.that(os.isatty(0), "descriptor 0 is no terminal any more")
    os.write(0, b"to the new terminal")
    check.equal(os.pread(50, 100, 0), b"after", "what the memfd that was given holds")
