"""What the kernel itself maps into every process: vDSO, its variables, vsyscall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.vma import VmaResource
from cr.kernel import mman
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask
    from cr.kernel.proc import Mapping
    from images import messages as m


class _KernelMade(VmaResource):
    private_pages = False
    recreated = False

    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterable[str]:
        return ()

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        """Other engines take it for anonymous memory."""
        entry.flags |= mman.MAP_ANONYMOUS
        entry.pgoff = 0


class Vdso(_KernelMade):
    """The kernel's shared library of fast system calls (vdso(7))."""

    status = VmaStatus.VDSO
    also = VmaStatus.REGULAR | VmaStatus.ANON_PRIVATE

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path == "[vdso]"


class Vvar(_KernelMade):
    """The variables that the vDSO reads."""

    status = VmaStatus.VVAR
    joined = True
    also = VmaStatus.REGULAR | VmaStatus.ANON_PRIVATE

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path.startswith("[vvar")


class Vsyscall(_KernelMade):
    """The page of old system calls at a fixed address, the same in every process."""

    status = VmaStatus.VSYSCALL
    also = VmaStatus.ANON_PRIVATE

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path == "[vsyscall]"


class Guard(_KernelMade):
    """Pages within another mapping whose touch is a fault (madvise(2) MADV_GUARD_INSTALL): an entry of the
    images, no mapping of its own."""

    status = VmaStatus.GUARD
    also = VmaStatus(0)

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return False
