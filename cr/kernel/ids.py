"""User and group ids of one thread of ours (setresuid(2) without libc's broadcast to all threads)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cr.kernel.capabilities import capget, capset
from cr.kernel.libc import syscall
from cr.kernel.prctl import set_keep_capabilities


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """In the block, this thread's effective ids are these: what it makes is theirs.

    Root has no capabilities in it; another user with capabilities has them back after it.
    """
    own = os.geteuid(), os.getegid()
    if (uid, gid) == own:
        yield
        return
    with capabilities_kept():
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
    if (uid, gid) == (os.geteuid(), os.getegid()):
        yield
        return
    sets = capget()
    own_gid = syscall("setfsgid", 123, gid)
    try:
        own_uid = syscall("setfsuid", 122, uid)
        try:
            capset(*sets)
            yield
        finally:
            syscall("setfsuid", 122, own_uid)
            capset(*sets)
    finally:
        syscall("setfsgid", 123, own_gid)


@contextmanager
def capabilities_kept() -> Iterator[None]:
    """After the block, this thread has the capabilities from before it, although its user ids were changed in it.

    Who is not root, but has capabilities, would lose them all on the way back from user id 0 (capabilities(7)).
    """
    sets = capget()
    set_keep_capabilities(True)
    try:
        yield
    finally:
        set_keep_capabilities(False)
        capset(*sets)
