"""What descriptors without a path (anon_inode) have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cr.contract.owner import dump_owner, restore_owner
from cr.kernel import files

if TYPE_CHECKING:
    from cr.contract.dumping import OpenFile
    from cr.contract.restoring import RestoreContext


def common(file: OpenFile) -> dict[str, Any]:
    """The fields that every kind of entry has."""
    return {"id": file.id, "flags": file.flags & ~os.O_CLOEXEC, "fown": dump_owner(file)}


def finish(fd: int, entry: Any, context: RestoreContext) -> int:
    """Status flags and owner for a new descriptor."""
    files.set_status_flags(fd, entry.flags)
    restore_owner(fd, entry.fown, context)
    return fd
