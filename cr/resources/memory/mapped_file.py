"""Mappings of files, private and shared."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract import plugins
from cr.contract.vma import VmaResource, unsupported_flags
from cr.kernel import files
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from images import messages as m

_SPECIAL = ("/memfd:", "/dev/zero (deleted)", "/SYSV", "/[aio]", "/anon_hugepage", "/secretmem")
_DEV_ZERO = (1, 5)


def is_file(mapping: Mapping) -> bool:
    return mapping.path.startswith("/") and not mapping.path.startswith(_SPECIAL)


def file_id(mapping: Mapping, task: DumpTask, context: DumpContext, flags: int) -> int:
    """Id of the file behind a mapping; mappings of one file in tasks that see the same mounts share it."""
    key = ("mapped file", task.ids["mnt_ns_id"], mapping.device, mapping.inode, mapping.path, flags)
    return context.once(key, lambda: context.files.add_path(task, link(mapping), flags))


def link(mapping: Mapping) -> str:
    """The link below /proc/PID that leads to the file."""
    return f"map_files/{mapping.start:x}-{mapping.end:x}"


def access(mapping: Mapping) -> int:
    """How the file must be open to be mapped like this."""
    return os.O_RDWR if mapping.shared and "mw" in mapping.flags else os.O_RDONLY


def describe(mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext, flags: int) -> None:
    entry.shmid = file_id(mapping, task, context, flags)
    entry.fdflags = flags


def opened_for(entry: m.vma_entry, context: RestoreContext) -> int:
    """The file to map; other engines' images open it read-only and tell with the mapping how it must be open."""
    fd = context.file(entry.shmid)
    now = files.access_mode(fcntl.fcntl(fd, fcntl.F_GETFL))
    wanted = files.access_mode(entry.fdflags) if entry.HasField("fdflags") else now
    if wanted == now:
        return fd
    return context.once(("mapped file", entry.shmid, wanted), lambda: context.keep(files.reopen(fd, wanted)))


def _device_obstacles(mapping: Mapping, task: DumpTask) -> Iterable[str]:
    """Devices are mapped for what they do, which images cannot hold; /dev/zero does nothing."""
    if not mapping.path.startswith("/dev/"):
        return
    status = os.stat(f"/proc/{task.pid}/{link(mapping)}")
    if stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) != _DEV_ZERO:
        yield "is memory of a device, which the images cannot hold"


def _of_plugin(entry: m.vma_entry, context: RestoreContext) -> int | None:
    """What a plug-in wants to have mapped instead, at the offset that is right now."""
    record = context.file_entries.get(entry.shmid) if plugins.active() else None
    answer = (
        plugins.mapping(record.reg.name, entry.start, entry.pgoff)
        if record is not None and record.HasField("reg")
        else None
    )
    if answer is None:
        return None
    fd, entry.pgoff = answer
    return context.keep(fd)


class _FileMapping(VmaResource):
    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterable[str]:
        found = [*unsupported_flags(mapping), *_device_obstacles(mapping, task)][:1]
        return [] if found and plugins.active() and plugins.knows_mapping(mapping, task.pid) else found

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int:
        return _of_plugin(entry, context) or opened_for(entry, context)


class PrivateFileMapping(_FileMapping):
    """mmap(2) of a file with MAP_PRIVATE: programs and libraries; only written pages are dumped."""

    status = VmaStatus.FILE_PRIVATE

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return not mapping.shared and is_file(mapping)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        describe(mapping, entry, task, context, access(mapping))


class SharedFileMapping(_FileMapping):
    """mmap(2) of a file with MAP_SHARED: its pages are the file's, none are dumped."""

    status = VmaStatus.FILE_SHARED
    private_pages = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.shared and is_file(mapping)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        describe(mapping, entry, task, context, access(mapping))
