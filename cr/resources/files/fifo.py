"""FIFOs (fifo(7)): a pipe that has a path."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cr.contract.outside_files import inherited, take
from cr.contract.owner import restore_owner
from cr.contract.resource import FdResource
from cr.kernel import files
from cr.model import BadImages
from cr.resources.files.pipe_content import contents, dump_content, fill, write_contents
from cr.resources.files.regular_file import RegularFile, open_entry
from cr.values import replace

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

IMAGE = "fifo-data"


class Fifo(FdResource):
    """An open FIFO: its file is a reg_file_entry of its own, its content is that of a pipe."""

    type = 3
    field = "fifo"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        opened = not file.flags & os.O_PATH
        return opened and file.link.startswith("/") and stat.S_ISFIFO(file.stat.st_mode)

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.fifo_entry:
        from images import messages as m

        regf_id = context.files.new_id()
        context.files.add_record(RegularFile, RegularFile.dump(replace(file, id=regf_id), context))
        dump_content(IMAGE, file.stat.st_ino, file, context)
        return m.fifo_entry(id=file.id, pipe_id=file.stat.st_ino, regf_id=regf_id)

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        write_contents(IMAGE, context)

    @classmethod
    def describe(cls, entry: m.fifo_entry) -> str:
        return f"file {entry.id:#x}: FIFO {entry.pipe_id:#x}"

    @classmethod
    def make(cls, entry: m.fifo_entry, context: RestoreContext) -> int:
        file = _file(entry, context)
        given = inherited(file.name, context)
        if given is not None:
            return take(given, file.flags, context)
        path = context.once(("fifo", entry.pipe_id), lambda: _prepare(entry, file, context))
        fd = files.reopen(path, file.flags & (os.O_ACCMODE | files.STATUS_FLAGS) | os.O_NONBLOCK)
        files.set_status_flags(fd, file.flags)
        restore_owner(fd, file.fown, context)
        return fd


def _file(entry: m.fifo_entry, context: RestoreContext) -> m.reg_file_entry:
    found = context.file_entries.get(entry.regf_id)
    if found is None:
        raise BadImages(f"files.img has no file {entry.regf_id:#x}, the path of FIFO {entry.id:#x}")
    return found.reg


def _prepare(entry: m.fifo_entry, file: m.reg_file_entry, context: RestoreContext) -> int:
    """An O_PATH descriptor of the FIFO, with its content in it; no end of it blocks when it is opened now."""
    from images import messages as m

    path = m.reg_file_entry()
    path.CopyFrom(file)
    path.flags = os.O_PATH
    fd = context.keep(open_entry(path, context))
    data = contents(IMAGE, context).get(entry.pipe_id, (0, b""))[1]
    if data or any(files.access_mode(other.flags) != os.O_RDONLY for other in _openings(entry.pipe_id, context)):
        _hold(fd, entry, context)
    return fd


def _openings(pipe_id: int, context: RestoreContext) -> list[m.reg_file_entry]:
    found = [entry.fifo for entry in context.file_entries.values() if entry.type == Fifo.type]
    return [_file(entry, context) for entry in found if entry.pipe_id == pipe_id]


def _hold(path: int, entry: m.fifo_entry, context: RestoreContext) -> None:
    """Have both ends open until every task has its own."""
    both = context.keep(files.reopen(path, os.O_RDWR | os.O_NONBLOCK))
    context.at_end.append(lambda: context.drop(both))
    extra = context.extra(entry.id)
    fill(IMAGE, entry.pipe_id, both, list(extra.packet) if extra else [], context)
