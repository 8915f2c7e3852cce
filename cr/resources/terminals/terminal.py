"""Terminals (tty(4), pty(7)): masters and slaves of pseudoterminals, /dev/tty, consoles."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from cr.contract.outside import outside
from cr.contract.owner import dump_owner
from cr.contract.resource import FdResource
from cr.kernel import terminals
from cr.resources.files.device import is_terminal
from cr.resources.files.file_name import DELETED
from cr.resources.files.regular_file import RegularFile, describe
from cr.resources.terminals.terminal_build import build
from cr.resources.terminals.terminal_data import copy_input, copy_output
from cr.values import dataclass, field, replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

PTMX, CTTY, CONSOLE = (5, 2), (5, 0), (5, 1)
_SLAVE_MAJORS = range(136, 144)
_VT_MAJOR, _VTS = 4, 64
_CONSOLE_ID, _VT_ID, _CTTY_ID, _EXTERNAL_ID, _MANY_ID, _LOST_ID = 2004, 2008, 2012, 2016, 1 << 20, 1 << 22
_INSTANCE_ID = 1 << 24
"""times the number of the devpts that a pseudoterminal is in"""


@dataclass
class _Found:
    """The terminals met during a dump: their records, one open file of each, and the slaves by index."""

    infos: dict[int, m.tty_info_entry] = field(default_factory=dict)
    files: dict[int, OpenFile] = field(default_factory=dict)
    instances: list[int] = field(default_factory=list)
    """st_dev of every devpts"""

    def slave_id(self, index: int, device: int) -> int:
        """The master's is one more.  Other terminals have numbers from 2000 on."""
        if device not in self.instances:
            self.instances.append(device)
        many = _MANY_ID if index >= 1000 else 0
        return 2 * index + many + _INSTANCE_ID * self.instances.index(device)


def _found(context: DumpContext) -> _Found:
    return context.once(Terminal, _Found)


def _device(file: OpenFile) -> tuple[int, int]:
    return os.major(file.stat.st_rdev), os.minor(file.stat.st_rdev)


def external_name(file: OpenFile) -> str:
    """How --external and --inherit-fd call a terminal: tty[rdev:dev], in hexadecimal."""
    return f"{file.stat.st_rdev:x}:{file.stat.st_dev:x}"


def _is_external(file: OpenFile, context: DumpContext) -> bool:
    return outside(context).name("tty", external_name(file), f"{file.stat.st_rdev}:{file.stat.st_dev}") is not None


class Terminal(FdResource):
    """open(2) of a terminal device, or of /dev/ptmx."""

    type = 11
    field = "tty"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return is_terminal(file.stat) and not file.flags & os.O_PATH

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        device = _device(file)
        known = device in (PTMX, CTTY, CONSOLE) or device[0] in _SLAVE_MAJORS or _is_virtual(device)
        if not known and not _is_external(file, context):
            yield (
                f"{file} is a serial line or another terminal device that is not supported: "
                f"leave it outside with --external tty[{external_name(file)}]"
            )

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.tty_file_entry:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        info = _describe(file, context)
        _found(context).infos.setdefault(info.id, info)
        _found(context).files.setdefault(info.id, file)
        path = describe(replace(file, id=context.files.new_id()), context)
        path.name = file.link.removesuffix(DELETED)
        context.files.add_record(RegularFile, path)
        entry = m.tty_file_entry(id=file.id, tty_info_id=info.id, flags=file.flags & ~os.O_CLOEXEC, regf_id=path.id)
        entry.fown.CopyFrom(dump_owner(file))
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        from images import messages as m

        found = _found(context)
        for info in found.infos.values():
            _check_master(info, found, context)
            if info.type == m.TtyType.PTY and info.id % 2 and info.id - 1 in found.infos:
                slave = found.infos[info.id - 1]
                slave.sid, slave.pgrp = info.sid, info.pgrp
        if context.obstacles:
            return
        context.images.write("tty-info", entries=found.infos.values())
        _write_data(found, context)

    @classmethod
    def make(cls, entry: m.tty_file_entry, context: RestoreContext) -> int:
        return build(entry, context)


def _is_virtual(device: tuple[int, int]) -> bool:
    return device[0] == _VT_MAJOR and device[1] < _VTS


def _describe(file: OpenFile, context: DumpContext) -> m.tty_info_entry:
    """The terminal behind a descriptor."""
    from images import messages as m

    status, device = file.stat, _device(file)
    info = m.tty_info_entry(rdev=status.st_rdev, dev=status.st_dev, uid=status.st_uid, gid=status.st_gid)
    info.locked = info.exclusive = info.packet_mode = False
    info.sid = info.pgrp = 0
    if _is_external(file, context):
        info.type, info.id = m.TtyType.EXT_TTY, _EXTERNAL_ID + (status.st_rdev << 12)
        _describe_session(info, status.st_rdev, context)
    elif device == PTMX:
        _describe_master(info, file, context)
    elif device[0] in _SLAVE_MAJORS:
        _describe_slave(info, file, context)
    elif device == CTTY:
        info.type = m.TtyType.CTTY
        info.sid, info.pgrp = file.task.vsid, _group(file.task.stat.tty_pgrp, context)
        info.id = _CTTY_ID + (info.sid << 12 if _CTTY_ID in _found(context).infos else 0)
        _describe_settings(info, file)
    else:
        info.type, info.id = m.TtyType.CONSOLE, _CONSOLE_ID
        if _is_virtual(device):
            info.type, info.id = m.TtyType.VT, _VT_ID + (device[1] << 12)
        _describe_settings(info, file)
    return info


def _is_lost(info: m.tty_info_entry) -> bool:
    return info.id % _INSTANCE_ID >= _LOST_ID


def _describe_master(info: m.tty_info_entry, file: OpenFile, context: DumpContext) -> None:
    from images import messages as m

    index = terminals.index_of(file.local)
    slave_id = _found(context).slave_id(index, _instance(file, context))
    info.type, info.id, info.pty.index = m.TtyType.PTY, slave_id + 1, index
    info.locked = bool(terminals.get_int(file.local, terminals.TIOCGPTLCK))
    info.packet_mode = bool(terminals.get_int(file.local, terminals.TIOCGPKT))
    _describe_session(info, os.makedev(_SLAVE_MAJORS.start, index), context, terminals.session_of(file.local))
    _describe_settings(info, file)
    with suppress(OSError), terminals.slave_file(file.local) as slave:
        found, entry = os.fstat(slave), context.files.extra(file.id).slave
        entry.uid, entry.gid, entry.mode = found.st_uid, found.st_gid, found.st_mode & 0o7777


def _instance(master: OpenFile, context: DumpContext) -> int:
    """The devpts of a master; where no path leads to it (its name is in another namespace) the only one there is."""
    try:
        return terminals.instance_of(master.local)
    except OSError:
        known = _found(context).instances
        return known[0] if known else master.stat.st_dev


def _describe_slave(info: m.tty_info_entry, file: OpenFile, context: DumpContext) -> None:
    from images import messages as m

    index = os.minor(file.stat.st_rdev)
    slave_id = _found(context).slave_id(index, file.stat.st_dev)
    info.type, info.id, info.pty.index = m.TtyType.PTY, slave_id, index
    try:
        terminals.get_termios(file.local)
    except OSError:  # its master is gone: it is hung up for good
        info.id += _LOST_ID
        return
    _describe_session(info, file.stat.st_rdev, context)
    _describe_settings(info, file)


def _describe_session(info: m.tty_info_entry, device: int, context: DumpContext, session: int | None = None) -> None:
    """Whose controlling terminal it is, and which group is in the foreground, as the root task sees them.

    Terminals of several devpts can have one number; a master knows the `session`.
    """
    for task in context.live_tasks:
        if task.stat.terminal == device and session in (None, task.stat.sid):
            info.sid = task.vsid
            info.pgrp = _group(task.stat.tty_pgrp, context)
            return


def _group(pgid: int, context: DumpContext) -> int:
    """A process group of ours as the root task sees it; 0 where none of the tree is in it."""
    for task in context.live_tasks:
        if task.stat.pgid == pgid:
            return task.vpgid
    return 0


def _describe_settings(info: m.tty_info_entry, file: OpenFile) -> None:
    fd = file.local
    info.exclusive = bool(terminals.get_int(fd, terminals.TIOCGEXCL))
    for locked, entry in ((False, info.termios), (True, info.termios_locked)):
        _fill_termios(entry, terminals.get_termios(fd, locked=locked))
    size = info.winsize
    size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel = terminals.get_window(fd)


def _fill_termios(entry: m.termios_entry, found: terminals.Termios) -> None:
    """Four control characters are packed into a word; the format has as many words as there are characters."""
    for name in ("c_iflag", "c_oflag", "c_cflag", "c_lflag", "c_line"):
        setattr(entry, name, getattr(found, name))
    entry.c_ispeed = entry.c_ospeed = 0
    packed = found.c_cc.ljust(4 * terminals.CONTROL_CHARACTERS, b"\0")
    entry.c_cc.extend(int.from_bytes(packed[i : i + 4], "little") for i in range(0, len(packed), 4))


def _check_master(info: m.tty_info_entry, found: _Found, context: DumpContext) -> None:
    """A slave whose master is held outside of the tree comes back only where somebody cares for the master."""
    from images import messages as m

    if info.type != m.TtyType.PTY or info.id % 2 or _is_lost(info) or info.id + 1 in found.infos:
        return
    if context.options.shell_job or context.options.orphan_pts_master:
        return
    file = found.files[info.id]
    context.refuse(
        f"{file} is a terminal whose other end is outside of the tree: use --shell-job where it is that of your "
        f"shell, --orphan-pts-master, or --external tty[{external_name(file)}]"
    )


def _write_data(found: _Found, context: DumpContext) -> None:
    from images import messages as m

    entries = []
    for info_id, info in found.infos.items():
        if info.type == m.TtyType.PTY and info_id % 2:
            master, slave = found.files[info_id].local, found.files.get(info_id - 1)
            if slave is not None:
                entries.append(m.tty_data_entry(tty_id=info_id - 1, data=copy_input(slave.local, master)))
            output = copy_output(master, slave.local if slave is not None else None)
            entries.append(m.tty_data_entry(tty_id=info_id, data=output))
    entries = [entry for entry in entries if entry.data]
    if entries:
        context.images.write("tty-data", entries=entries)
