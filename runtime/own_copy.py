"""The runtime's own program out of the reach of containers (CVE-2019-5736).

Until its exec, a container's first process runs our interpreter.  A program that is /proc/self/exe, or a script that
names it in its first line, is that interpreter, now run by the container: as root it could open the file for
writing.  So the verbs that make such processes run from a sealed copy in memory, which nobody can change.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time

from cr.kernel import mounts
from runtime import startup

VERBS = frozenset({"create", "run", "exec"})
NAME = "woodfrog"
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TRIES = 100


def run_from_copy() -> None:
    """Exec the same command from where nobody can write to it, unless we are there already."""
    if _out_of_reach():
        return
    words = sys.argv if startup.woken else [sys.executable, *sys.orig_argv[1:]]
    try:
        copy = read_only_mount() if startup.woken else sealed_copy()
    except PermissionError:
        copy = sealed_copy()
    os.execve(copy, words, os.environ)


def _out_of_reach() -> bool:
    """Our program is a sealed copy, or on a read-only mount."""
    program = os.readlink("/proc/self/exe")
    return program.startswith(f"/memfd:{NAME}") or bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def read_only_mount() -> int:
    """A descriptor of our program on a read-only mount that is attached nowhere; PermissionError without privileges.

    For programs that would take long to copy.  With its last descriptor the mount leaves the namespaces for good: who
    gets at the file by /proc/self/exe can neither write to it nor change the mount.
    """
    tree = mounts.open_tree(mounts.AT_FDCWD, "/proc/self/exe", mounts.OPEN_TREE_CLONE | mounts.OPEN_TREE_CLOEXEC)
    mounts.mount_setattr(tree, "", mounts.AT_EMPTY_PATH, mounts.MOUNT_ATTR_RDONLY)
    return tree


def sealed_copy() -> int:
    """A descriptor of a copy in memory; it is closed by the exec."""
    copy = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    own = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    size = os.fstat(own).st_size
    while os.lseek(copy, 0, os.SEEK_CUR) < size:
        os.sendfile(copy, own, None, size)
    os.close(own)
    _seal(copy)
    return copy


def _seal(copy: int) -> None:
    """EBUSY says that the kernel still holds a page of it (mm/memfd.c, memfd_wait_for_pins): that passes."""
    for last in (*[False] * _TRIES, True):
        try:
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
        except OSError as error:
            if last or error.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
        else:
            return
