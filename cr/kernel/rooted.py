"""Path names as a process with another root and working directory resolves them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from cr.kernel import mounts
from cr.kernel.clone import CLONE_FS
from cr.kernel.namespaces import unshare

T = TypeVar("T")


def rooted(root_fd: int, directory_fd: int, action: Callable[[], T]) -> T:
    """The result of `action()`, run with this root and working directory and umask 0.

    It runs in a thread that shares neither with ours, so the rest of this process notices nothing.
    """
    import threading

    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            unshare(CLONE_FS)
            os.umask(0)
            os.fchdir(root_fd)
            os.chroot(".")
            os.fchdir(directory_fd)
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def private_tmpfs() -> int:
    """The root of a new tmpfs that is mounted nowhere; it is gone with its last user."""
    fs = mounts.fsopen("tmpfs")
    try:
        mounts.fsconfig(fs, mounts.FSCONFIG_CMD_CREATE)
        return mounts.fsmount(fs)
    finally:
        os.close(fs)
