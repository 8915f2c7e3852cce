"""The runtime's own program out of the reach of containers (CVE-2019-5736).

Until its exec, a container's first process runs our interpreter.  A program that is /proc/self/exe, or a script that
names it in its first line, is that interpreter, now run by the container: as root it could open the file for
writing.  So the verbs that make such processes run from a sealed copy in memory, which nobody can change.
"""

from __future__ import annotations

import fcntl
import os
import sys

VERBS = frozenset({"create", "run", "exec"})
NAME = "woodfrog"
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def run_from_copy() -> None:
    """Exec the same command from a sealed copy of the interpreter, unless we are that already."""
    if os.readlink("/proc/self/exe").startswith(f"/memfd:{NAME}"):
        return
    copy = sealed_copy()
    os.execve(copy, [sys.executable, *sys.orig_argv[1:]], os.environ)


def sealed_copy() -> int:
    """A descriptor of the copy; it is closed by the exec."""
    copy = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    own = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    size = os.fstat(own).st_size
    while os.lseek(copy, 0, os.SEEK_CUR) < size:
        os.sendfile(copy, own, None, size)
    os.close(own)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    return copy
