"""What the kernel itself maps into every process: vDSO, its variables, vsyscall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.vma import VmaResource
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.kernel.proc import Mapping


class Vdso(VmaResource):
    """The kernel's shared library of fast system calls (vdso(7))."""

    status = VmaStatus.VDSO
    private_pages = False
    recreated = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path == "[vdso]"


class Vvar(VmaResource):
    """The variables that the vDSO reads."""

    status = VmaStatus.VVAR
    private_pages = False
    recreated = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path.startswith("[vvar")


class Vsyscall(VmaResource):
    """The page of old system calls at a fixed address, the same in every process."""

    status = VmaStatus.VSYSCALL
    private_pages = False
    recreated = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path == "[vsyscall]"
