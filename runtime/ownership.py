"""Whose containers are below a state directory: root that works in an ordinary user's makes things as that user does.

So the user has them afterwards, and what that user may not write (cgroups above all) is left out.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def owner_of(root: str) -> tuple[int, int] | None:
    """The uid and gid of the user that the directory belongs to, if we are root and that is somebody else."""
    if os.geteuid() != 0:
        return None
    try:
        status = os.stat(root)
    except FileNotFoundError:
        return None
    return (status.st_uid, status.st_gid) if status.st_uid else None


@contextmanager
def acting_for(owner: tuple[int, int] | None) -> Iterator[None]:
    """In the block, this process makes files and directories as that user, with no more rights than that."""
    if owner is None:
        yield
        return
    uid, gid, own = *owner, os.getegid()
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own)
