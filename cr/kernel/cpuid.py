"""The CPUID and XGETBV instructions (Intel SDM volume 2A; AMD APM volume 3)."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache
from typing import NamedTuple

# void f(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
_CPUID = bytes.fromhex(
    "53"  # push rbx
    "4989d0"  # mov r8, rdx
    "89f8"  # mov eax, edi
    "89f1"  # mov ecx, esi
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8+4], ebx
    "41894808"  # mov [r8+8], ecx
    "4189500c"  # mov [r8+12], edx
    "5b"  # pop rbx
    "c3"  # ret
)
# uint32_t f(uint32_t register)
_XGETBV = bytes.fromhex(
    "89f9"  # mov ecx, edi
    "0f01d0"  # xgetbv
    "c3"  # ret
)


class Registers(NamedTuple):
    """What CPUID answers."""

    eax: int
    ebx: int
    ecx: int
    edx: int


@cache
def _code() -> tuple[mmap.mmap, int]:
    """A page with both functions, and its address."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_CPUID.ljust(64, b"\xcc") + _XGETBV)
    return page, ctypes.addressof(ctypes.c_char.from_buffer(page))


@cache
def cpuid(leaf: int, subleaf: int = 0) -> Registers:
    """Zeros for a leaf that the processor does not have."""
    if leaf & 0x7FFFFFFF and leaf > _highest(leaf & 0x80000000):
        return Registers(0, 0, 0, 0)
    return _cpuid(leaf, subleaf)


def xsave_component(number: int) -> tuple[int, int]:
    """(offset, size) of a state component in the standard form of the XSAVE area (Intel SDM vol. 1, 13.5)."""
    size, offset, _, _ = cpuid(0xD, number)
    return offset, size


@cache
def _highest(group: int) -> int:
    return _cpuid(group, 0).eax


def _cpuid(leaf: int, subleaf: int) -> Registers:
    _, address = _code()
    out = (ctypes.c_uint32 * 4)()
    function = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(address)
    function(leaf, subleaf, out)
    return Registers(*out)


def enabled_state() -> int:
    """XCR0: the parts of the processor's state that the kernel keeps for tasks (low 32 bits); 0 without XSAVE."""
    if not cpuid(1).ecx >> 27 & 1:
        return 0
    _, address = _code()
    function = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32)(address + 64)
    return int(function(0))
