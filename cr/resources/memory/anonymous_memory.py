"""Private anonymous memory: malloc's, the heap, stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.vma import VmaResource
from cr.kernel import mman
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.kernel.proc import Mapping
    from images import messages as m

_NAMED = ("[heap]", "[stack]", "[anon:")
HUGE = "/anon_hugepage"  # MAP_HUGETLB


class AnonymousMemory(VmaResource):
    """mmap(2) with MAP_PRIVATE | MAP_ANONYMOUS, brk(2), and stacks that grow down."""

    status = VmaStatus.ANON_PRIVATE

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        if mapping.shared:
            return False
        return not mapping.path or mapping.path.startswith(_NAMED) or mapping.path.startswith(HUGE)

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        entry.flags |= mman.MAP_ANONYMOUS
        entry.pgoff = 0
        if mapping.path == "[heap]":
            entry.status |= VmaStatus.HEAP
