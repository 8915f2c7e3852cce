"""Mappings of memfd_create(2) files; the memory itself is dumped with the open file (memfd.img)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from cr.contract.vma import VmaResource
from cr.resources.memory.mapped_file import describe
from cr.resources.memory.memfd import ANONYMOUS, PREFIX, SUFFIX, mapped
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from images import messages as m


class _MemfdMapping(VmaResource):
    paths: ClassVar[tuple[str, ...]] = (PREFIX,)

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.shared != cls.private_pages and mapping.path.startswith(cls.paths)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        describe(mapping, entry, task, context, os.O_RDWR if "mw" in mapping.flags else os.O_RDONLY)

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int:
        return mapped(entry, context)


class PrivateMemfdMapping(_MemfdMapping):
    """With MAP_PRIVATE: written pages are the task's own.  Anonymous shared memory can be mapped so by map_files."""

    status = VmaStatus.FILE_PRIVATE | VmaStatus.MEMFD
    paths = (PREFIX, ANONYMOUS + SUFFIX)


class SharedMemfdMapping(_MemfdMapping):
    """With MAP_SHARED.  Other engines keep anonymous shared memory in this way too."""

    status = VmaStatus.FILE_SHARED | VmaStatus.MEMFD
    private_pages = False
