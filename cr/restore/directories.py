"""Take a puppet to its root and working directory, by descriptors: both may be deleted or out of sight."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.remote.program import Program
from cr.restore.handover import Channel, lowest_free, receive

if TYPE_CHECKING:
    from images import messages as m


def enter(task: RestoreTask, context: RestoreContext, channel: Channel) -> None:
    """chroot(2), fchdir(2), umask(2), while the puppet still has the channel."""
    if not context.images.exists("fs", task.vpid):
        return
    entry: m.fs_entry = context.images.read_one("fs", task.vpid)
    root, cwd = context.file(entry.root_id), context.file(entry.cwd_id)
    program = Program()
    channel.send([root, cwd])
    receive(program, 2)
    root_slot, cwd_slot = lowest_free(2)
    if not _is_root_of(root, task.puppet.tid):
        program.call("fchdir", root_slot)
        program.call("chroot", program.cstr("."))
    program.call("fchdir", cwd_slot, note="working directory")
    program.call("close", root_slot)
    program.call("close", cwd_slot)
    if entry.HasField("umask"):
        program.call("umask", entry.umask)
    context.run(task.leader, program)


def _is_root_of(fd: int, tid: int) -> bool:
    """Whether the puppet has that root directory already."""
    return os.path.samestat(os.fstat(fd), os.stat(f"/proc/{tid}/root"))
