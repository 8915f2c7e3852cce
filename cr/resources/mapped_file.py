"""Mappings of files, private and shared."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.vma import VmaResource
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from images import messages as m

_SPECIAL = ("/memfd:", "/dev/zero (deleted)", "/SYSV", "/[aio]", "/anon_hugepage")


def is_file(mapping: Mapping) -> bool:
    return bool(mapping.inode) and mapping.path.startswith("/") and not mapping.path.startswith(_SPECIAL)


def _dump(mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext, flags: int) -> None:
    name = f"map_files/{mapping.start:x}-{mapping.end:x}"
    entry.shmid = context.files.add_path(task, name, flags)
    entry.fdflags = flags


class PrivateFileMapping(VmaResource):
    """mmap(2) of a file with MAP_PRIVATE: programs and libraries; only written pages are dumped."""

    status = VmaStatus.FILE_PRIVATE

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return not mapping.shared and is_file(mapping)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        _dump(mapping, entry, task, context, os.O_RDONLY)

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int:
        return context.file(entry.shmid)


class SharedFileMapping(VmaResource):
    """mmap(2) of a file with MAP_SHARED: its pages are the file's, none are dumped."""

    status = VmaStatus.FILE_SHARED
    private_pages = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.shared and is_file(mapping)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        _dump(mapping, entry, task, context, os.O_RDWR if "mw" in mapping.flags else os.O_RDONLY)

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int:
        return context.file(entry.shmid)
