"""Records of plain files, made before the freeze; whatever has changed until then is described anew.

Most descriptors and mappings of most programs are files and directories that have a name.  To look them up takes much
longer than to see that nothing about them has changed.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from cr.contract.dumping import DumpContext, DumpTask, OpenFile
from cr.contract.outside_files import external_name
from cr.dump.looks import Look, Looks
from cr.dump.open_files import claim, open_path
from cr.kernel import batch, proc
from cr.resources.files.file_name import DELETED, leads_to
from cr.resources.files.regular_file import RegularFile, describe
from cr.values import dataclass

if TYPE_CHECKING:
    from images import messages as m


@dataclass
class Draft:
    """`record` is all but the id and the mount."""

    file: OpenFile
    look: Look
    record: m.reg_file_entry


class _Drafted:
    """The drafts of one process."""

    def __init__(self, task: DumpTask) -> None:
        self.start_time = task.stat.start_time
        self.namespace = proc.namespace_inode(task.pid, "mnt")
        self.looks = Looks(task)
        self.same: bool | None = None
        """whether this is the process and the mount namespace of before, once somebody has looked"""
        self.files: dict[int | tuple[str, int], Draft] = {}
        """by descriptor, or by name in /proc/PID and flags"""


class Drafts:
    """The drafts of a dump: `note` files before the freeze, look them up after it."""

    def __init__(self, context: DumpContext) -> None:
        self._context = context
        self._drafted: dict[int, _Drafted] = {}
        self._mounts: dict[int, bytes] = {}
        """by inode of mount namespace, before the freeze"""
        self._unchanged: dict[int, bool] = {}
        self._possible = batch.possible()

    def note(self, file: OpenFile) -> None:
        """A descriptor of a plain file."""
        if self._possible and _is_plain(file, self._context):
            drafted = self._of(file.task)
            self._note(drafted, file.fd, file, drafted.looks.at_descriptor(file))

    def note_path(self, task: DumpTask, name: str, flags: int) -> None:
        """What a link of /proc/PID leads to."""
        file = open_path(task, name, flags)
        try:
            if self._possible and _is_plain(file, self._context):
                drafted = self._of(task)
                self._note(drafted, (name, flags), file, drafted.looks.at_path(name, file.link))
        finally:
            file.close()

    def _of(self, task: DumpTask) -> _Drafted:
        if task.pid not in self._drafted:
            self._drafted[task.pid] = made = _Drafted(task)
            if made.namespace not in self._mounts:
                self._mounts[made.namespace] = proc.read_bytes(task.pid, "mountinfo")
        return self._drafted[task.pid]

    def _note(self, drafted: _Drafted, key: int | tuple[str, int], file: OpenFile, look: Look | None) -> None:
        if look is None or not look.tells(file) or not leads_to(file.link, file, self._context):
            return
        entry = describe(file, self._context)
        entry.name = file.link
        drafted.files[key] = Draft(file, look, entry)

    def of_descriptor(self, task: DumpTask, fd: int) -> Draft | None:
        """That of a descriptor, if nothing has changed."""
        return self._find(task, fd)

    def of_path(self, task: DumpTask, name: str, flags: int) -> Draft | None:
        """That of a link of /proc/PID, if nothing has changed."""
        return self._find(task, (name, flags))

    def _find(self, task: DumpTask, key: int | tuple[str, int]) -> Draft | None:
        drafted = self._drafted.get(task.pid)
        draft = drafted.files.get(key) if drafted is not None else None
        if drafted is None or draft is None or not self._holds(drafted, task) or not drafted.looks.is_same(draft.look):
            return None
        draft.file.task = task
        return draft

    def _holds(self, drafted: _Drafted, task: DumpTask) -> bool:
        """Whether it is the same process and sees the same mounts: names lead where they did."""
        if drafted.same is None:
            namespace = proc.namespace_inode(task.pid, "mnt")
            drafted.same = drafted.start_time == task.stat.start_time and drafted.namespace == namespace
            if namespace not in self._unchanged:
                self._unchanged[namespace] = self._mounts.get(namespace) == proc.read_bytes(task.pid, "mountinfo")
        return drafted.same and self._unchanged[drafted.namespace]


def begin(context: DumpContext) -> Drafts:
    """The drafts of this dump."""
    return context.once("drafts", lambda: Drafts(context))


def _is_plain(file: OpenFile, context: DumpContext) -> bool:
    """Whether its record says nothing but what the file itself tells."""
    kind = stat.S_IFMT(file.stat.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR) or file.link.endswith(DELETED) or not file.link.isprintable():
        return False
    if "lock" in file.info or claim(file) is not RegularFile or external_name(file, context) is not None:
        return False
    return not any(RegularFile.obstacles(file, context))
