"""The open files of all tasks: told apart, numbered, described."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cr.contract.dumping import DumpContext, DumpTask, OpenFile, note
from cr.contract.mounts import image_mount_id
from cr.contract.resource import FdResource
from cr.dump import drafts
from cr.dump.objects import ObjectTable
from cr.dump.open_files import claim, descriptors, open_file, open_path
from cr.kernel import proc
from cr.kernel.pidfd import KCMP_FILE
from cr.resources.events.eventfd import EventFd
from cr.resources.files import plugin_file, stub
from cr.resources.files.device import is_terminal
from cr.resources.files.file_locks import note_locks
from cr.resources.files.plugin_file import PluginFile
from cr.resources.files.regular_file import RegularFile
from cr.resources.files.unsupported import reason
from cr.values import dataclass, field

if TYPE_CHECKING:
    from images import messages as m

O_CLOEXEC = os.O_CLOEXEC


def unsupported(file: OpenFile) -> str:
    """Why an open file that no resource recognises cannot be dumped."""
    return reason(file)


def _is_doubtful(file: OpenFile) -> bool:
    """A slave of a terminal made by ioctl TIOCGPTPEER with O_CLOEXEC shows that for every copy (v6.18)."""
    return is_terminal(file.stat) and bool(fcntl.fcntl(file.local, fcntl.F_GETFL) & O_CLOEXEC)


@dataclass
class FileTable:
    """All open file descriptions met so far.  Ids are unique over all kinds."""

    context: DumpContext
    next_id: int = 1
    entries: dict[int, tuple[type[FdResource], Any]] = field(default_factory=dict)
    _buckets: dict[object, ObjectTable] = field(default_factory=dict)
    _ids: dict[tuple[object, int], int] = field(default_factory=dict)
    slots: dict[tuple[int, int], int] = field(default_factory=dict)
    """(files_id, fd) -> id"""
    _holders: dict[tuple[int, int], list[tuple[DumpTask, int, int]]] = field(default_factory=dict)
    _extras: dict[int, m.woodfrog_file_entry] = field(default_factory=dict)
    _beneath: dict[int, tuple[type[FdResource], Any]] = field(default_factory=dict)
    _tables: dict[int, list[m.fdinfo_entry]] = field(default_factory=dict)
    _doubtful: dict[int, list[m.fdinfo_entry]] = field(default_factory=dict)
    """both by files_id"""
    _later: list[Callable[[], None]] = field(default_factory=list)

    def add(self, file: OpenFile, draft: drafts.Draft | None = None) -> int:
        """The id of the description behind this descriptor; 0 where it cannot be dumped (noted)."""
        key = (file.stat.st_dev, file.stat.st_ino, file.info.get("mnt_id"), file.flags & ~O_CLOEXEC)
        bucket = self._buckets.setdefault(key, ObjectTable(KCMP_FILE))
        number, new = bucket.number(file.task.pid, file.fd)
        if new:
            self._ids[key, number] = self._finish(draft) if draft is not None else self._describe(file)
        file.id = self._ids[key, number]
        return file.id

    def add_path(self, task: DumpTask, name: str, flags: int) -> int:
        """A file that a task refers to without a descriptor: its executable, directory, a mapping."""
        draft = drafts.begin(self.context).of_path(task, name, flags)
        if draft is not None:
            return self._path_id(draft.file, flags, lambda _: self._finish(draft))
        file = open_path(task, name, flags)
        try:
            return self._path_id(file, flags, self._describe)
        finally:
            file.close()

    def _path_id(self, file: OpenFile, flags: int, describe: Callable[[OpenFile], int]) -> int:
        key = ("path", file.stat.st_dev, file.stat.st_ino, file.info["mnt_id"], file.link, flags)
        if not self._ids.get((key, 0)):
            self._ids[key, 0] = describe(file)
        return self._ids[key, 0]

    def find(self, task: DumpTask, fd: int) -> int:
        return self.slots.get((task.ids["files_id"], fd), 0)

    def add_held(self, fd: int) -> int:
        """The id of an open file that only we hold: it was on its way between tasks."""
        pid = os.getpid()
        ours = DumpTask(pid, 0, 0, 0, 0, proc.stat(pid), None, ids={"files_id": 0})
        return self.add(open_file(ours, fd))

    def add_record(self, resource: type[FdResource], record: Any) -> None:
        """A file that exists in the images only."""
        self.entries[record.id] = (resource, record)

    def beneath(self, file_id: int, resource: type[FdResource], record: Any) -> None:
        self._beneath[file_id] = (resource, record)

    def move_to_end(self, file_id: int) -> None:
        """Its record comes last in files.img."""
        self.entries[file_id] = self.entries.pop(file_id)

    def later(self, action: Callable[[], None]) -> None:
        """Run `action` when all descriptor tables are known: it may add more files."""
        self._later.append(action)

    def settle(self) -> None:
        """Run what was put off, until nothing new appears."""
        while self._later:
            self._later.pop(0)()

    def holders(self, dev: int, ino: int) -> list[tuple[DumpTask, int, int]]:
        return list(self._holders.get((dev, ino), ()))

    def extra(self, file_id: int) -> m.woodfrog_file_entry:
        from images import messages as m

        return self._extras.setdefault(file_id, m.woodfrog_file_entry(id=file_id))

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def _finish(self, draft: drafts.Draft) -> int:
        """The id of a file whose draft holds."""
        file, record = draft.file, draft.record
        file.id = record.id = self.new_id()
        record.mnt_id = image_mount_id(file, self.context)
        self.entries[file.id] = (RegularFile, record)
        return file.id

    def _describe(self, file: OpenFile) -> int:
        resource = claim(file)
        if plugin_file.wanted(file, resource, self.context):
            resource = PluginFile
        elif stub.wanted(file, resource, self.context):
            file.id = self.new_id()
            self.entries[file.id] = (EventFd, stub.record(file))
            return file.id
        if resource is None:
            self.context.refuse(unsupported(file))
            return 0
        file.id = self.new_id()
        with note(f"while dumping {file}"):
            record = resource.dump(file, self.context)
        if record is not None:
            self.entries[file.id] = (resource, record)
        return file.id

    def dump_task(self, task: DumpTask) -> None:
        """The fdinfo image of a descriptor table; tables shared by several tasks are written once."""
        from images import messages as m

        slots = []
        for fd in descriptors(task.pid):
            draft = drafts.begin(self.context).of_descriptor(task, fd)
            file = draft.file if draft is not None else open_file(task, fd)
            file_id = self.add(file, draft)
            self.slots[task.ids["files_id"], fd] = file_id
            self._holders.setdefault((file.stat.st_dev, file.stat.st_ino), []).append((task, fd, file_id))
            if "lock" in file.info:
                note_locks(file, self.context)
            if file_id in self.entries:
                resource = self.entries[file_id][0]
                cloexec = 1 if file.flags & O_CLOEXEC else 0
                slot = m.fdinfo_entry(id=file_id, flags=cloexec, type=m.fd_types.Name(resource.type), fd=fd)
                slots.append(slot)
                if cloexec and _is_doubtful(file):
                    self._doubtful.setdefault(task.ids["files_id"], []).append(slot)
            file.close()
        self._tables[task.ids["files_id"]] = slots

    def doubtful(self, task: DumpTask) -> list[m.fdinfo_entry]:
        return self._doubtful.pop(task.ids["files_id"], [])

    def write(self) -> None:
        """files.img, and the images of the kinds of files that have some of their own."""
        from images import messages as m

        for files_id, slots in self._tables.items():
            self.context.images.write("fdinfo", files_id, entries=slots)
        for resource in {resource for resource, _ in self.entries.values()}:
            resource.finish_dump(self.context)
        with self.context.images.writer("files") as image:
            for file_id, found in self.entries.items():
                below = self._beneath.get(file_id)
                for resource, record in (below, found) if below else (found,):
                    kind = m.fd_types.Name(resource.type)
                    image.add(m.file_entry(type=kind, id=file_id, **{resource.field: record}))
        if self._extras:
            self.context.images.write("woodfrog-files", entries=self._extras.values())
