"""Files that stay outside of the images: `--external file[MNT_ID:INODE]`, `--inherit-fd fd[NUM]:RES`."""

from __future__ import annotations

import fcntl
import os
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.outside import demand_open, outside
from cr.kernel import files

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext


def external_name(file: OpenFile, context: DumpContext) -> str | None:
    """What the user calls a file that is to be left out, None where it goes into the images."""
    if not context.options.external:
        return None
    mount, inode = file.mnt_id, file.stat.st_ino
    return outside(context).name("file", f"{mount:x}:{inode:x}", f"{mount}:{inode}")


def inherited(name: str, context: RestoreContext, *others: str) -> int | None:
    """The descriptor of ours that the user gave for what the images call `name`, with a leading slash or without.

    `others` are names that mean the same.
    """
    table = outside(context).inherited
    if not table:
        return None
    number = next((table[each] for each in (name, name.lstrip("/"), *others) if each in table), None)
    if number is not None:
        demand_open(name, number)
    return number


def inherited_copy(name: str, context: RestoreContext, *others: str) -> int | None:
    """A new descriptor of the open file that the user gave for `name`, None where nothing was given."""
    number = inherited(name, context, *others)
    return None if number is None else fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)


def take(number: int, flags: int, context: RestoreContext) -> int:
    """The inherited file for a task that had it open with `flags`: the same description where its mode fits.

    O_NONBLOCK and the like are what the task expects, for whoever shares the description too.
    """
    mode = files.access_mode(fcntl.fcntl(number, fcntl.F_GETFL))
    if mode not in (files.access_mode(flags), os.O_RDWR):
        return files.reopen(number, flags & (os.O_ACCMODE | files.STATUS_FLAGS))
    fd = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)
    context.at_end.append(partial(files.set_status_flags, fd, flags))
    return fd
