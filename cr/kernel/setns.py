"""setns(2)."""

from __future__ import annotations

from cr.kernel.libc import syscall


def setns(fd: int, kind: int) -> None:
    """Move this thread into the namespace that `fd` refers to; `kind` is its CLONE_NEW* flag, 0 for any."""
    syscall("setns", 308, fd, kind)
