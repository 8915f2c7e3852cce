"""User and group ids of one thread of ours (setresuid(2) without libc's broadcast to all threads)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cr.kernel.capabilities import capget, capset
from cr.kernel.libc import syscall


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """In the block, this thread's effective ids are these: what it makes is theirs.  It has no capabilities then."""
    own = os.geteuid(), os.getegid()
    if (uid, gid) == own:
        yield
        return
    syscall("setresgid", 119, -1, gid, -1)
    try:
        syscall("setresuid", 117, -1, uid, -1)
        try:
            yield
        finally:
            syscall("setresuid", 117, -1, own[0], -1)
    finally:
        syscall("setresgid", 119, -1, own[1], -1)


@contextmanager
def making_files_as(uid: int, gid: int) -> Iterator[None]:
    """In the block, files that this thread makes belong to these ids; its capabilities stay (setfsuid(2)).

    A filesystem of a user namespace takes no files of owners that it does not know (EOVERFLOW).
    """
    if (uid, gid) == (0, 0):
        yield
        return
    sets = capget()
    syscall("setfsgid", 123, gid)
    try:
        syscall("setfsuid", 122, uid)
        try:
            capset(*sets)
            yield
        finally:
            syscall("setfsuid", 122, 0)
    finally:
        syscall("setfsgid", 123, 0)
