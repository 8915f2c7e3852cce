"""Areas of memory, for memory_kinds.py: made, written, looked at."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from lib import DIRECTORY, Check

PAGE = 4096
HUGE = 2 << 20
READ, WRITE, EXEC = 1, 2, 4
SHARED, PRIVATE, ANONYMOUS = 1, 2, 0x20
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.shmat.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for _name in ("mprotect", "madvise", "mlock2", "munmap"):
    getattr(libc, _name).argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.syscall.argtypes = [ctypes.c_long] * 6


def call(name: str, *arguments: int) -> int:
    result = getattr(libc, name)(*arguments)
    if result in (-1, ctypes.c_void_p(-1).value):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}{arguments}: {os.strerror(code)}")
    return result


def system_call(number: int, *arguments: int) -> int:
    result = libc.syscall(number, *arguments, *[0] * (5 - len(arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def area(
    pages: int = 8, flags: int = PRIVATE | ANONYMOUS, prot: int = READ | WRITE, fd: int = -1, offset: int = 0
) -> int:
    return call("mmap", None, pages * PAGE, prot, flags, fd, offset)


def put(address: int, text: bytes) -> None:
    ctypes.memmove(address, text, len(text))


def get(address: int, size: int = 5) -> bytes:
    return ctypes.string_at(address, size)


Kind = Callable[[Check], Iterator[None]]
"""Prepares, yields, checks."""


def smaps(address: int) -> tuple[str, str]:
    """Permissions and VmFlags of the mapping at an address."""
    inside, perms = False, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line[0] in "0123456789abcdef":
            span, perms = line.split()[:2]
            start, _, end = span.partition("-")
            inside = int(start, 16) <= address < int(end, 16)
        elif inside and line.startswith("VmFlags"):
            return perms, " ".join(flag for flag in line.split()[1:] if flag != "ac")
    return "", ""


def same(check: Check, address: int, text: bytes | None = b"hello") -> Iterator[None]:
    """Contents and flags are afterwards what they were before."""
    before = smaps(address)
    yield
    check.equal(smaps(address), before, "flags in smaps")
    if text is not None:
        check.equal(get(address), text, "contents")


def written(pages: int = 8, **options: int) -> int:
    address = area(pages, **options)
    put(address, b"hello")
    return address


def file_of(size: int, name: str = "mapped") -> int:
    fd = os.open(DIRECTORY / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, b"begin".ljust(size, b"."))
    return fd
