"""The CPUID instruction, for the layout of the XSAVE area (Intel SDM vol. 1, 13.5)."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache

# push rbx; mov r10, rdx; mov eax, edi; mov ecx, esi; cpuid;
# mov [r10], eax; mov [r10+4], ebx; mov [r10+8], ecx; mov [r10+12], edx; pop rbx; ret
_CODE = bytes.fromhex("534989d289f889f10fa241890241895a0441894a084189520c5bc3")


@cache
def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """eax, ebx, ecx, edx."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as code:
        code.write(_CODE)
        anchor = ctypes.c_char.from_buffer(code)
        function = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(ctypes.addressof(anchor))
        out = (ctypes.c_uint32 * 4)()
        function(leaf, subleaf, ctypes.addressof(out))
        del function, anchor
    return out[0], out[1], out[2], out[3]


def xsave_component(number: int) -> tuple[int, int]:
    """(offset, size) of a state component in the standard form of the XSAVE area."""
    size, offset, _, _ = cpuid(0xD, number)
    return offset, size
