"""The open files of all tasks: told apart, numbered, described."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from cr.contract.dumping import DumpContext, DumpTask, OpenFile, note
from cr.contract.resource import FdResource, fd_resources
from cr.dump.objects import ObjectTable
from cr.kernel import proc
from cr.kernel.pidfd import KCMP_FILE

O_CLOEXEC = os.O_CLOEXEC


def open_file(task: DumpTask, fd: int) -> OpenFile:
    """Everything that /proc tells about a descriptor."""
    path = f"/proc/{task.pid}/fd/{fd}"
    text = proc.fdinfo(task.pid, fd)
    info = {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    return OpenFile(task, fd, os.readlink(path), os.stat(path), info, text)


def descriptors(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def claim(file: OpenFile) -> type[FdResource] | None:
    """The one resource that recognises an open file."""
    claims = [resource for resource in fd_resources() if resource.recognises(file)]
    if len(claims) > 1:
        raise RuntimeError(f"{file} is claimed by {', '.join(c.__name__ for c in claims)}")
    return claims[0] if claims else None


@dataclass
class FileTable:
    """All open file descriptions met so far.  Ids are unique over all kinds."""

    context: DumpContext
    next_id: int = 1
    entries: dict[int, tuple[type[FdResource], Any]] = field(default_factory=dict)
    _buckets: dict[object, ObjectTable] = field(default_factory=dict)
    _ids: dict[tuple[object, int], int] = field(default_factory=dict)

    def add(self, file: OpenFile) -> int:
        """The id of the description behind this descriptor; 0 where it cannot be dumped (noted)."""
        key = (file.stat.st_dev, file.stat.st_ino, file.info.get("mnt_id"), file.flags & ~O_CLOEXEC)
        bucket = self._buckets.setdefault(key, ObjectTable(KCMP_FILE))
        number, new = bucket.number(file.task.pid, file.fd)
        if new:
            self._ids[key, number] = self._describe(file)
        file.id = self._ids[key, number]
        return file.id

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def _describe(self, file: OpenFile) -> int:
        resource = claim(file)
        if resource is None:
            self.context.refuse(f"{file} is of a kind that cannot be dumped")
            return 0
        file.id = self.new_id()
        with note(f"while dumping {file}"):
            record = resource.dump(file, self.context)
        if record is not None:
            self.entries[file.id] = (resource, record)
        return file.id

    def dump_task(self, task: DumpTask) -> None:
        """fdinfo image of a descriptor table; tables shared by several tasks are written once."""
        from images import messages as m

        slots = []
        for fd in descriptors(task.pid):
            file = open_file(task, fd)
            file_id = self.add(file)
            if file_id:
                resource = self.entries[file_id][0]
                cloexec = 1 if file.flags & O_CLOEXEC else 0
                slots.append(m.fdinfo_entry(id=file_id, flags=cloexec, type=resource.type, fd=fd))
        self.context.images.write("fdinfo", task.ids["files_id"], entries=slots)

    def write(self) -> None:
        """files.img, and the images of the kinds of files that have some of their own."""
        from images import messages as m

        for resource in {resource for resource, _ in self.entries.values()}:
            resource.finish_dump(self.context)
        with self.context.images.writer("files") as image:
            for file_id, (resource, record) in self.entries.items():
                image.add(m.file_entry(type=resource.type, id=file_id, **{resource.field: record}))
