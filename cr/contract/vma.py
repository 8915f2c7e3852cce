"""What can be mapped into an address space: the contract of VMA kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from cr.contract.resource import discover, subclasses

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from images import messages as m


class VmaResource(ABC):
    """One kind of mapping.  Exactly one resource recognises a mapping of /proc/PID/maps."""

    status: ClassVar[int]  # the bit of vma_entry.status that names the kind
    private_pages: ClassVar[bool] = True
    """whether pages belong to this address space alone, and are dumped with it"""
    recreated: ClassVar[bool] = True
    """whether the restore maps it with mmap(2); False for what the kernel maps by itself"""

    @classmethod
    @abstractmethod
    def recognises(cls, mapping: Mapping) -> bool:
        """From the line of /proc/PID/maps."""

    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterable[str]:
        """Reasons against a dump."""
        return ()

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        """Fill in shmid, pgoff and what else is special; start, end, prot, flags and status are set."""

    @classmethod
    def fd(cls, entry: m.vma_entry, task: RestoreTask, context: RestoreContext) -> int | None:
        """Our descriptor of the file to map, None where the mapping is anonymous."""
        return None


@cache
def vma_resources() -> tuple[type[VmaResource], ...]:
    discover()
    return tuple(sorted(subclasses(VmaResource), key=lambda cls: cls.__name__))


def vma_resource(status: int) -> type[VmaResource]:
    """The kind that an image's status names."""
    return next(cls for cls in vma_resources() if status & cls.status)
