"""Files that stay outside of the images: `--external file[MNT_ID:INODE]`, `--inherit-fd fd[NUM]:RES`."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from cr.contract.external import external
from cr.contract.outside import inherited as parse_inherited
from cr.kernel import files
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext


def external_name(file: OpenFile, context: DumpContext) -> str | None:
    """What the user calls a file that is to be left out, None where it goes into the images."""
    if not context.options.external:
        return None
    key = f"{file.mnt_id:x}:{file.stat.st_ino:x}"
    return f"file[{key}]" if key in external(context.options, "file") else None


def inherited(name: str, context: RestoreContext) -> int | None:
    """The descriptor of ours that the user gave for what the images call `name`, a leading slash or not."""
    table = context.once("inherited descriptors", lambda: parse_inherited(context.options.inherit_fd))
    number = table.get(name, table.get(name.lstrip("/")))
    if number is not None:
        try:
            os.fstat(number)
        except OSError as error:
            raise CheckpointError(f"--inherit-fd fd[{number}]:{name}: that descriptor is not open") from error
    return number


def inherited_copy(name: str, context: RestoreContext) -> int | None:
    """A new descriptor of the open file that the user gave for `name`, None where nothing was given."""
    number = inherited(name, context)
    return None if number is None else fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)


def take(number: int, flags: int) -> int:
    """The inherited file for a task that had it open with `flags`: the same description where its mode fits."""
    mode = files.access_mode(fcntl.fcntl(number, fcntl.F_GETFL))
    if mode in (files.access_mode(flags), os.O_RDWR):
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)
    return files.reopen(number, flags & (os.O_ACCMODE | files.STATUS_FLAGS))
