"""Records of plain files, made before the freeze; whatever has changed until then is described anew.

Most descriptors and mappings of most programs are files and directories that have a name.  To look them up takes much
longer than to see that nothing about them has changed.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from cr.contract.dumping import DumpContext, DumpTask, OpenFile
from cr.contract.mounts import image_mount_id
from cr.contract.outside_files import external_name
from cr.contract.owner import dump_owner
from cr.dump.open_files import claim, open_path
from cr.kernel.file_status import seal
from cr.resources.files.file_name import DELETED, leads_to
from cr.resources.files.regular_file import RegularFile, describe
from cr.values import dataclass

if TYPE_CHECKING:
    from images import messages as m


@dataclass
class Draft:
    """`record` is all but the id, the owner and the mount, serialized; it holds while `seal` is the same."""

    file: OpenFile
    seal: object
    record: bytes

    def finished(self, file: OpenFile, context: DumpContext) -> m.reg_file_entry | None:
        """The record of the frozen task's file; None where its name does not lead to it any more."""
        from images import messages as m

        if not leads_to(file.link, file, context):
            return None
        entry = m.reg_file_entry.FromString(self.record)
        entry.mnt_id = image_mount_id(file, context)
        if file.fd >= 0:
            entry.fown.CopyFrom(dump_owner(file))
        return entry


class Drafts:
    """The drafts of a dump: `note` files before the freeze, look them up after it."""

    def __init__(self, context: DumpContext) -> None:
        self._context = context
        self._drafts: dict[tuple[int, int | str, int], Draft] = {}
        """by pid and descriptor, or pid, name in /proc/PID and flags"""

    def note(self, file: OpenFile) -> None:
        """A descriptor of a plain file."""
        self._note((file.task.pid, file.fd, 0), file, _seal_of(file))

    def note_path(self, task: DumpTask, name: str, flags: int) -> None:
        """What a link of /proc/PID leads to."""
        sealed = seal(f"/proc/{task.pid}/{name}")  # first: what changes from now on breaks it
        file = open_path(task, name, flags)
        try:
            self._note((task.pid, name, flags), file, sealed)
        finally:
            file.close()

    def _note(self, key: tuple[int, int | str, int], file: OpenFile, sealed: object) -> None:
        if _is_plain(file, self._context):
            entry = describe(file, self._context)
            entry.name = file.link
            self._drafts[key] = Draft(file, sealed, entry.SerializeToString())

    def of(self, file: OpenFile) -> Draft | None:
        """That of a descriptor, if nothing has changed."""
        draft = self._drafts.get((file.task.pid, file.fd, 0))
        return draft if draft is not None and draft.seal == _seal_of(file) else None

    def of_path(self, task: DumpTask, name: str, flags: int) -> Draft | None:
        """That of a link of /proc/PID, if nothing has changed; its file is not open."""
        draft = self._drafts.get((task.pid, name, flags))
        if draft is None:
            return None
        path = f"/proc/{task.pid}/{name}"
        if os.readlink(path) != draft.file.link or seal(path) != draft.seal:
            return None
        draft.file.task = task
        return draft


def begin(context: DumpContext) -> Drafts:
    """The drafts of this dump."""
    return context.once("drafts", lambda: Drafts(context))


def _seal_of(file: OpenFile) -> object:
    status = file.stat
    return file.link, file.info_text, status[:7], status.st_mtime_ns, status.st_ctime_ns


def _is_plain(file: OpenFile, context: DumpContext) -> bool:
    """Whether its record says nothing but what the file itself tells."""
    kind = stat.S_IFMT(file.stat.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR) or file.link.endswith(DELETED) or not file.link.isprintable():
        return False
    if claim(file) is not RegularFile or external_name(file, context) is not None:
        return False
    return not any(RegularFile.obstacles(file, context))
