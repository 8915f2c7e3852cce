"""Files of /proc/PID: those of dead processes have nothing to be opened by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cr.contract.stand_in import stand_in
from cr.kernel import files
from cr.kernel.patterns import pattern
from cr.remote.program import Program
from cr.resources.files.remaps import PROCFS, add_remap

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext

_FDINFO = pattern(rb".*/(\d+)(?:/task/\d+)?/fdinfo/(\d+)")
_PID = pattern(r".*?/(\d+)(?:/|$)")


def dump_dead(name: str, file: OpenFile, context: DumpContext) -> bool:
    """Whether this is a file of /proc of a process that has ended; it is noted then."""
    match = _PID.match(name)
    if match is None or files.filesystem(file.local)[0] != files.PROC_SUPER_MAGIC:
        return False
    threads = set(re.findall(r"/task/(\d+)", name)) - {match[1]}
    if threads or any(task.vpid == int(match[1]) for task in context.tasks):
        context.refuse(f"{file} is a file of a thread or process that has ended: close it")
    else:
        add_remap(file.id, PROCFS, int(match[1]), context)
    return True


def open_dead(pid: int, path: bytes, flags: int, mnt_id: int, context: RestoreContext) -> int:
    """Open a file of /proc/PID while a stand-in has that pid."""
    stand_in(pid, context)
    return context.open(path, flags, mnt_id=mnt_id)


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
