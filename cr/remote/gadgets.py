"""Code that every task with a C library has: a `syscall` that returns, and the return from a signal handler.

Together they let a thread make one call and go back to where it was, with nobody's help.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable

from cr.kernel import proc, vm
from cr.kernel.patterns import pattern
from cr.values import dataclass

_PLAIN = b"\x0f\x05\xc3"  # syscall; ret
_WRAPPER = pattern(rb"\x0f\x05\x48\x3d[\x00\x01]\xf0\xff\xff[\x73\x77].\xc3", re.DOTALL)
"""syscall; cmp rax, -4095 (or -4096); jae (ja) to where errno is set; ret: what glibc is full of"""
_RESTORER = pattern(rb"(?:\x48\xc7\xc0|\xb8)\x0f\x00\x00\x00\x0f\x05")
"""mov rax, 15; syscall: rt_sigreturn(2)"""

_found: dict[tuple[str, int, int, int], tuple[int, int]] = {}
"""(device, inode, offset, size) of a mapping -> where both are, from its start; -1: nowhere"""


@dataclass(frozen=True)
class Gadgets:
    """Addresses in one task: `call` is a `syscall` instruction that a plain return follows."""

    call: int
    restorer: int


def find(pid: int, mappings: Iterable[proc.Mapping]) -> Gadgets | None:
    """Both, from whatever executable files the task has mapped; the C library first."""
    call = restorer = 0
    for mapping in sorted(filter(_is_code, mappings), key=_order):
        at = _look(pid, mapping)
        if not call and at[0] >= 0:
            call = mapping.start + at[0]
        if not restorer and at[1] >= 0:
            restorer = mapping.start + at[1]
        if call and restorer:
            return Gadgets(call, restorer)
    return None


def are_there(pid: int, gadgets: Gadgets) -> bool:
    """Whether the task's memory has that code: a file may be patched in memory, or replaced."""
    code = vm.read(pid, gadgets.call, 11)
    returns = code.startswith(_PLAIN) or _WRAPPER.match(code) is not None
    return returns and _RESTORER.match(vm.read(pid, gadgets.restorer, 9)) is not None


def _is_code(mapping: proc.Mapping) -> bool:
    return mapping.inode != 0 and mapping.perms.startswith("r-x")


def _order(mapping: proc.Mapping) -> tuple[bool, int]:
    name = os.path.basename(mapping.path)
    return not name.startswith(("libc.", "libc-", "ld-")), mapping.end - mapping.start


def _look(pid: int, mapping: proc.Mapping) -> tuple[int, int]:
    key = (mapping.device, mapping.inode, mapping.offset, mapping.end - mapping.start)
    if key not in _found:
        try:
            _found[key] = _search_file(pid, mapping)
        except (OSError, ValueError):
            return (-1, -1)  # not to be opened, or shorter than its mapping
    return _found[key]


def _search_file(pid: int, mapping: proc.Mapping) -> tuple[int, int]:
    """In the file, not in the task: no page of the task is touched."""
    fd = os.open(f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = min(mapping.end - mapping.start, os.fstat(fd).st_size - mapping.offset)
        with mmap.mmap(fd, size, prot=mmap.PROT_READ, offset=mapping.offset) as content:
            return _search(content)
    finally:
        os.close(fd)


def _search(content: mmap.mmap) -> tuple[int, int]:
    call = content.find(_PLAIN)
    if call < 0:
        match = _WRAPPER.search(content)
        call = match.start() if match else -1
    restorer = _RESTORER.search(content)
    return call, restorer.start() if restorer else -1
