"""A session's controlling terminal and its foreground process group (ioctl_tty(2), credentials(7))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.nesting import pid_seen_by
from cr.contract.resource import ProcessResource, Stage
from cr.kernel.terminals import TIOCSCTTY, TIOCSPGRP
from cr.resources.terminals.terminal_build import terminals_of

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
    from cr.remote.program import Argument, Program
    from images import messages as m

AT_FDCWD = -100


class ControllingTerminal(ProcessResource):
    """Terminals know their session (tty_info_entry.sid, .pgrp): its leader takes the terminal again."""

    stage = Stage.STATE
    order = 20

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        """Everything is in the images of the terminals."""

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        task = thread.task
        for slave_id in sorted(terminals_of(context).pairs):
            info = _info(slave_id, context)
            if info is not None and info.sid == task.vpid:
                _take(program, slave_id, info, task, context)
        _take_handed_over(program, task, context)
        if context.options.shell_job and task is context.root:
            _come_to_foreground(program, task, context)


def _take_handed_over(program: Program, task: RestoreTask, context: RestoreContext) -> None:
    """A terminal that is not of the tree: it may be that of another session, whose it stays."""
    from images import messages as m

    for slot in task.fds:
        entry = context.file_entries.get(slot.id)
        info = terminals_of(context).infos.get(entry.tty.tty_info_id) if entry and entry.HasField("tty") else None
        if info is not None and info.type == m.TtyType.EXT_TTY and info.sid == task.vpid:
            program.call("ioctl", slot.fd, TIOCSCTTY, 0, may_fail=True, note="TIOCSCTTY")
            if group := pid_seen_by(task, info.pgrp, context):
                number = program.data(group.to_bytes(4, "little"))
                program.call("ioctl", slot.fd, TIOCSPGRP, number, may_fail=True, note="TIOCSPGRP")
            return


def _info(slave_id: int, context: RestoreContext) -> m.tty_info_entry | None:
    """The end that says whose it is: other engines do not tell it of a slave."""
    infos = terminals_of(context).infos
    found = [infos[number] for number in (slave_id, slave_id + 1) if number in infos]
    return next((info for info in found if info.sid), None)


def _take(program: Program, slave_id: int, info: m.tty_info_entry, task: RestoreTask, context: RestoreContext) -> None:
    """By a descriptor that the leader has; without one, opening the device does it."""
    fd: Argument | None = _descriptor(slave_id, task, context)
    if fd is not None:
        program.call("ioctl", fd, TIOCSCTTY, 0, note="TIOCSCTTY")
        _set_group(program, fd, info, task, context)
        return
    opened = program.call("openat", AT_FDCWD, program.cstr(f"/dev/pts/{info.pty.index}"), os.O_RDWR)
    _set_group(program, opened, info, task, context)
    program.call("close", opened)


def _descriptor(slave_id: int, task: RestoreTask, context: RestoreContext) -> int | None:
    for slot in task.fds:
        entry = context.file_entries.get(slot.id)
        if entry is not None and entry.HasField("tty") and entry.tty.tty_info_id == slave_id:
            return int(slot.fd)
    return None


def _set_group(
    program: Program, fd: Argument, info: m.tty_info_entry, task: RestoreTask, context: RestoreContext
) -> None:
    number = pid_seen_by(task, info.pgrp, context)
    if number and any(other.entry.pgid == info.pgrp for other in context.tasks):
        program.call("ioctl", fd, TIOCSPGRP, program.data(number.to_bytes(4, "little")), note="TIOCSPGRP")


def _come_to_foreground(program: Program, task: RestoreTask, context: RestoreContext) -> None:
    """The job of a shell that was in the foreground is so again, on the terminal of this restore."""
    infos = terminals_of(context).infos
    for slot in task.fds:
        entry = context.file_entries.get(slot.id)
        info = infos.get(entry.tty.tty_info_id) if entry is not None and entry.HasField("tty") else None
        if info is not None and info.HasField("pty") and info.pgrp == task.entry.pgid == task.vpid:
            if info.id not in terminals_of(context).pairs:
                group = program.data(info.pgrp.to_bytes(4, "little"))
                program.call("ioctl", slot.fd, TIOCSPGRP, group, may_fail=True, note="TIOCSPGRP")
            return
