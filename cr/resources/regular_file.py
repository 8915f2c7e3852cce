"""Files that have a path: regular files, directories, devices, and O_PATH descriptors of anything."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cr.contract.mounts import image_mount_id
from cr.contract.owner import dump_owner, restore_owner
from cr.contract.resource import FdResource
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

DELETED = " (deleted)"
TTY_MAJORS = frozenset({4, 5, *range(136, 144)})
_NOT_REOPENED = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_CLOEXEC


def is_terminal(status: os.stat_result) -> bool:
    """Terminals have a resource of their own (tty)."""
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) in TTY_MAJORS


class RegularFile(FdResource):
    """open(2) of a path."""

    type = 1
    field = "reg"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        if not file.link.startswith("/") or file.link.startswith("/memfd:"):
            return False
        if file.flags & os.O_PATH:
            return True
        mode = file.stat.st_mode
        return (
            stat.S_ISREG(mode)
            or stat.S_ISDIR(mode)
            or stat.S_ISBLK(mode)
            or (stat.S_ISCHR(mode) and not is_terminal(file.stat))
        )

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.reg_file_entry:
        from images import messages as m

        flags = file.flags & ~os.O_CLOEXEC
        if file.fd < 0:
            flags &= ~os.O_PATH  # a mapping's or a directory's file: opened for its purpose at restore
        entry = m.reg_file_entry(id=file.id, flags=flags, pos=file.pos, name=file.link)
        entry.mnt_id = image_mount_id(file, context)
        entry.fown.CopyFrom(dump_owner(file))
        entry.mode = file.stat.st_mode
        if stat.S_ISREG(file.stat.st_mode):
            entry.size = file.stat.st_size
        return entry

    @classmethod
    def describe(cls, entry: m.reg_file_entry) -> str:
        return f"file {entry.id:#x}: open {entry.name}"

    @classmethod
    def make(cls, entry: m.reg_file_entry, context: RestoreContext) -> int:
        flags = entry.flags & ~_NOT_REOPENED
        try:
            fd = context.open(entry.name, flags | os.O_NOCTTY, mnt_id=entry.mnt_id)
        except OSError as error:
            raise CheckpointError(f"cannot open {entry.name}, which a task had open: {error.strerror}") from error
        try:
            _check(fd, entry)
            if entry.pos and not flags & os.O_PATH:
                os.lseek(fd, entry.pos, os.SEEK_SET)
            restore_owner(fd, entry.fown, context)
        except BaseException:
            os.close(fd)
            raise
        return fd


def _check(fd: int, entry: m.reg_file_entry) -> None:
    """The file must be what it was: another one under its name would be read or written by mistake."""
    now = os.fstat(fd)
    if entry.HasField("mode") and stat.S_IFMT(entry.mode) != stat.S_IFMT(now.st_mode):
        raise CheckpointError(f"{entry.name} is no longer the kind of file it was when the dump was taken")
    if entry.HasField("size") and stat.S_ISREG(now.st_mode) and now.st_size != entry.size:
        raise CheckpointError(
            f"{entry.name} has {now.st_size} bytes, but had {entry.size} when the dump was taken: restore it first"
        )
