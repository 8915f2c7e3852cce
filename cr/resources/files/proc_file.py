"""Files of /proc/PID: those of dead processes have nothing to be opened by."""

from __future__ import annotations

import contextlib
import os
import re
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.stand_in import stand_in
from cr.kernel import files
from cr.kernel.patterns import pattern
from cr.model import CheckpointError
from cr.remote.program import Program
from cr.resources.files.remaps import PROCFS, add_remap

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_FDINFO = pattern(rb".*/(\d+)(?:/task/\d+)?/fdinfo/(\d+)")
_PID = pattern(r".*?/(\d+)(?:/|$)")


def dump_dead(name: str, file: OpenFile, context: DumpContext) -> bool:
    """Whether this is a file of /proc of a process that has ended; it is noted then."""
    match = _PID.match(name)
    if match is None or files.filesystem(file.local)[0] != files.PROC_SUPER_MAGIC:
        return False
    threads = set(re.findall(r"/task/(\d+)", name)) - {match[1]}
    if threads or context.root.vpid == int(match[1]):
        context.refuse(f"{file} is a file of a {'thread' if threads else 'process'} that has ended: close it")
    else:
        add_remap(file.id, PROCFS, int(match[1]), context)
    return True


def open_dead(file_id: int, pid: int, path: bytes, flags: int, mnt_id: int, context: RestoreContext) -> int:
    """Open a file of /proc/PID while a stand-in has that pid."""
    early: int | None = context.shared.get(_early(file_id))
    if early is not None:
        return os.dup(early)
    stand_in(pid, context)
    fd = context.open(path, flags, mnt_id=mnt_id)
    context.at_end.append(partial(_forget_content, fd))  # when the stand-in has gone
    return fd


def open_before_births(entry: m.reg_file_entry, pid: int, path: bytes, flags: int, context: RestoreContext) -> None:
    """The same where a task of the images has the pid now: none is born yet but the root."""
    if all(pid not in (thread.pids[0] for thread in task.threads) for task in context.tasks):
        return
    with context.process_once_more(pid) as found:
        if found is None:
            raise CheckpointError(f"pid {pid} is taken by another process: end it, or restore into a new pid namespace")
        fd = context.keep(context.open(path, flags, mnt_id=entry.mnt_id))
        context.shared[_early(entry.id)] = fd
        if entry.pos and not flags & os.O_PATH:
            os.lseek(fd, entry.pos, os.SEEK_SET)
    context.at_end.append(partial(_forget_content, fd))


def _forget_content(fd: int) -> None:
    """The kernel has read ahead to get to the position, and would give out what it read of our own process.

    A failing read from elsewhere makes it forget that, and leaves the position.
    """
    with contextlib.suppress(OSError):
        os.pread(fd, 1, 0)


def _early(file_id: int) -> tuple[str, int]:
    return "file of a dead process", file_id


def open_fdinfo(path: bytes, flags: int, mnt_id: int, context: RestoreContext) -> int | None:
    """Open a file of /proc/PID/fdinfo before that task has the descriptor: it looks for it when it is read.

    None where the path is no such file.
    """
    match = _FDINFO.fullmatch(path)
    task = next((task for task in context.live_tasks if match and task.vpid == int(match[1])), None)
    if match is None or task is None:
        return None
    number = int(match[2])
    before, after = Program(), Program()
    before.call("dup3", CHANNEL, number, 0, note="for the time being")
    after.call("close", number)
    context.run(task.leader, before)
    try:
        return context.open(path, flags, mnt_id=mnt_id)
    finally:
        context.run(task.leader, after)


CHANNEL = 0
"""what every puppet has until it is given its descriptors"""
