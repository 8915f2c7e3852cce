"""Running a function inside a network namespace.

A namespace belongs to a thread, so the function gets a thread of its own: the caller's never changes, and
there is nothing to go back to if something fails.  setns(2) is not in Python 3.11, hence ctypes.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from netns.errors import NetnsError, from_errno

T = TypeVar("T")
CLONE_NEWNET = 0x4000_0000


def _setns(fd: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        hint = "it takes CAP_SYS_ADMIN in the user namespace that owns it and in one's own"
        raise from_errno(f"enter the network namespace of descriptor {fd}", ctypes.get_errno(), hint)


def run_in(netns_fd: int | None, function: Callable[[], T]) -> T:
    """Call a function in a thread that is in this network namespace (None: the caller's) and give its result.

    Its exception is raised here.  Programs that it starts run in the namespace as well.  It must read
    /proc/thread-self/net, since /proc/net shows the main thread's.
    """
    if netns_fd is None:
        return function()
    answers: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            _setns(netns_fd)
            answers.append(function())
        except BaseException as err:
            errors.append(err)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


def open_netns(path: str = "/proc/thread-self/ns/net") -> int:
    """A descriptor of a network namespace, the caller's own by default."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        raise NetnsError(f"cannot open the network namespace {path}: {err.strerror}", err.errno) from err
