"""Who gets the signals of an open file: fcntl(2) F_SETOWN_EX, F_SETSIG; fown_entry of the images."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

from cr import log
from cr.kernel import files, proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpTask, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m


def dump_owner(file: OpenFile) -> m.fown_entry:
    """The owner of an open file; all zero where it has none (or is an O_PATH descriptor, which cannot have)."""
    from images import messages as m

    entry = m.fown_entry(uid=0, euid=0, signum=0, pid_type=0, pid=0)
    if file.flags & files.O_PATH or file.fd < 0:
        return entry
    kind, pid = struct.unpack("<ii", fcntl.fcntl(file.local, files.F_GETOWN_EX, bytes(8)))
    if pid:
        entry.pid_type, entry.pid = kind, virtual_pid(pid, file.task)
        entry.uid, entry.euid = struct.unpack("<II", fcntl.fcntl(file.local, files.F_GETOWNER_UIDS, bytes(8)))
    entry.signum = fcntl.fcntl(file.local, files.F_GETSIG)
    return entry


def virtual_pid(pid: int, task: DumpTask) -> int:
    """A pid of ours as the pid namespace of the tree's root task has it; 0 where it has none."""
    while task.parent is not None:
        task = task.parent
    level = len(proc.ns_ids(proc.status(task.pid), "NSpid")) - 1
    if not level:
        return pid
    try:
        ids = proc.ns_ids(proc.status(pid), "NSpid")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return ids[level] if level < len(ids) else 0


def restore_owner(fd: int, entry: m.fown_entry, context: RestoreContext) -> None:
    """Give our descriptor the owner it had, once all tasks exist."""
    if entry.signum:
        fcntl.fcntl(fd, files.F_SETSIG, entry.signum)
    if entry.pid:
        context.at_end.append(lambda: _set_owner(fd, entry, context))


def _set_owner(fd: int, entry: m.fown_entry, context: RestoreContext) -> None:
    pid = _our_pid(entry, context)
    try:
        files.set_owner(fd, entry.pid_type, pid, entry.uid, entry.euid)
    except ProcessLookupError:
        log.warning(f"the owner {entry.pid} of an open file no longer exists: nobody gets its signals")


def _our_pid(entry: m.fown_entry, context: RestoreContext) -> int:
    """The owner's pid as we see it: of a task of the tree, or of one outside with the same number."""
    if entry.pid_type == files.F_OWNER_PGRP:
        members = [task for task in context.tasks if task.entry.pgid == entry.pid]
        return os.getpgid(members[0].puppet.tid) if members else entry.pid
    for task in context.tasks:
        for thread in task.threads:
            if thread.vtid == entry.pid:
                return thread.puppet.tid
    return entry.pid
