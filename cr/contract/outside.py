"""Files that stay outside of the images: `--external file[MNT_ID:INODE]`, `--inherit-fd fd[NUM]:RES`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from cr.kernel import files
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext

_INHERITED = re.compile(r"fd\[(\d+)\]:(.+)", re.DOTALL)


def external_name(file: OpenFile, context: DumpContext) -> str | None:
    """What the user calls a file that is to be left out, None where it goes into the images."""
    name = f"file[{file.mnt_id:x}:{file.stat.st_ino:x}]"
    return name if name in context.options.external else None


def inherited(name: str, context: RestoreContext) -> int | None:
    """The descriptor of ours that the user gave for what the images call `name`."""
    table = context.once("inherited descriptors", lambda: parse_inherited(context.options.inherit_fd))
    return table.get(name.lstrip("/"))


def parse_inherited(options: list[str]) -> dict[str, int]:
    """`fd[NUM]:RES` of --inherit-fd, RES without a leading slash -> NUM."""
    found: dict[str, int] = {}
    for text in options:
        match = _INHERITED.fullmatch(text)
        if match is None:
            raise CheckpointError(f"--inherit-fd {text} is not of the form fd[NUM]:RES")
        found[match[2].lstrip("/")] = _open_descriptor(int(match[1]), text)
    return found


def _open_descriptor(number: int, text: str) -> int:
    try:
        os.fstat(number)
    except OSError as error:
        raise CheckpointError(f"--inherit-fd {text}: descriptor {number} is not open in our process") from error
    return number


def take(number: int, flags: int) -> int:
    """The inherited file for a task that had it open with `flags`: the same description where its mode fits."""
    import fcntl

    mode = files.access_mode(fcntl.fcntl(number, fcntl.F_GETFL))
    if mode in (files.access_mode(flags), os.O_RDWR):
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)
    return files.reopen(number, flags & (os.O_ACCMODE | files.STATUS_FLAGS))
