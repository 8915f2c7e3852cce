"""Who gets the signals of an open file: fcntl(2) F_SETOWN_EX, F_SETSIG; fown_entry of the images."""

from __future__ import annotations

import fcntl
import struct
from typing import TYPE_CHECKING

from cr.kernel import files

if TYPE_CHECKING:
    from cr.contract.dumping import OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_PIDTYPE = {files.F_OWNER_TID: 0, files.F_OWNER_PID: 1, files.F_OWNER_PGRP: 2}


def dump_owner(file: OpenFile) -> m.fown_entry:
    """The owner of an open file; all zero where it has none (or is an O_PATH descriptor, which cannot have)."""
    from images import messages as m

    entry = m.fown_entry(uid=0, euid=0, signum=0, pid_type=0, pid=0)
    if file.flags & files.O_PATH:
        return entry
    kind, pid = struct.unpack("<ii", fcntl.fcntl(file.local, files.F_GETOWN_EX, bytes(8)))
    if pid:
        entry.pid_type, entry.pid = _PIDTYPE[kind], pid
        entry.uid, entry.euid = struct.unpack("<II", fcntl.fcntl(file.local, files.F_GETOWNER_UIDS, bytes(8)))
    entry.signum = fcntl.fcntl(file.local, files.F_GETSIG)
    return entry


def restore_owner(fd: int, entry: m.fown_entry, context: RestoreContext) -> None:
    """Give our descriptor the owner it had, once all tasks exist."""
    if entry.signum:
        fcntl.fcntl(fd, files.F_SETSIG, entry.signum)
    if entry.pid:
        context.owners.append((fd, entry))
