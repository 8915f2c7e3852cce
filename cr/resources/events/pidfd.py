"""pidfd_open(2): descriptors that refer to processes, or threads, alive or dead."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.resource import FdResource
from cr.kernel import pidfd, proc
from cr.model import BadImages
from cr.resources.events.anonymous_inode import common, finish

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

DEAD = -1


class PidFd(FdResource):
    """What it refers to is in the tree, or dead; pidfds with the same `ino` refer to the same process."""

    type = 20
    field = "pidfd"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link in ("anon_inode:[pidfd]", "pidfd:[pidfd]") or "NSpid" in file.info

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        pid = _host_pid(file)
        if pid > 0 and not _is_in_tree(pid, context):
            yield f"{file} is a pidfd of process {pid}, which is not in the tree: close it, or dump them together"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.pidfd_entry:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        fields = common(file) | {"flags": file.flags & (os.O_NONBLOCK | pidfd.PIDFD_THREAD)}
        return m.pidfd_entry(ino=file.stat.st_ino & 0xFFFFFFFF, nspid=_inside(file, context), **fields)

    @classmethod
    def make(cls, entry: m.pidfd_entry, context: RestoreContext) -> int:
        if entry.nspid == DEAD:
            of_dead = context.once(("dead process", entry.ino), lambda: context.keep(_pidfd_of_dead()))
            return finish(os.dup(of_dead) if not entry.flags else of_dead, entry, context)
        flags = entry.flags & (os.O_NONBLOCK | pidfd.PIDFD_THREAD)
        return finish(pidfd.pidfd_open(_our_pid(entry, context), flags), entry, context)


def _host_pid(file: OpenFile) -> int:
    return int(file.info["Pid"])


def _inside(file: OpenFile, context: DumpContext) -> int:
    """The pid in the pid namespace of the root task; DEAD for a process that is no more."""
    if _host_pid(file) <= 0:
        return DEAD
    level = len(proc.ns_ids(context.root.leader.status, "NSpid")) - 1
    ids = [int(word) for word in file.info["NSpid"].split()]
    return ids[level] if level < len(ids) else DEAD


def _is_in_tree(pid: int, context: DumpContext) -> bool:
    """Whether a process or thread belongs to the tree; one that ends while we look does no harm."""
    if context.tasks:
        return any(pid in (task.tgid, thread.tid) for task in context.tasks for thread in task.threads)
    try:
        here = int(proc.status(pid)["Tgid"])
        while here and here != context.options.tree:
            here = proc.stat(here).ppid
    except (FileNotFoundError, ProcessLookupError):
        return True
    return here != 0


def _our_pid(entry: m.pidfd_entry, context: RestoreContext) -> int:
    for task in context.tasks:
        for thread in task.threads:
            if thread.vtid == entry.nspid:
                return thread.puppet.tid
    raise BadImages(f"a pidfd refers to process {entry.nspid}, which is not in the images")


def _pidfd_of_dead() -> int:
    """A pidfd of a process that has ended and was waited for."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    fd = pidfd.pidfd_open(child)
    os.waitpid(child, 0)
    return fd
