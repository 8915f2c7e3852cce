"""The memory of a stopped process as an ELF executable that the kernel maps where it was (elf(5)).

Every segment is mapped from the file, private: what a program never touches is never read, and what it only reads is
shared with all others that run.  Pages of zeros are holes in the file.
"""

from __future__ import annotations

import os
import struct

from cr.kernel import proc, vm
from cr.values import dataclass

PAGE = vm.PAGE_SIZE
_CHUNK = 1 << 20
_ZEROS = bytes(PAGE)
_NOT_MEMORY = ("[stack]", "[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]")
_PT_LOAD, _PT_GNU_STACK = 1, 0x6474E551
_READ, _WRITE, _EXECUTE = 4, 2, 1


@dataclass
class Segment:
    """Addresses [start, end) with protection bits PF_*; `content` where it is not to be read from the process."""

    start: int
    end: int
    protection: int
    content: bytes | None = None


def segments_of(pid: int) -> list[Segment]:
    """The address space of a process: neighbours that are protected alike as one; not what the kernel gives anew."""
    found: list[Segment] = []
    for mapping in proc.plain_mappings(pid):
        if mapping.path in _NOT_MEMORY:
            continue
        bits = zip("rwx", (_READ, _WRITE, _EXECUTE), strict=True)
        protection = sum(bit for letter, bit in bits if letter in mapping.perms)
        if found and found[-1].end == mapping.start and found[-1].protection == protection:
            found[-1].end = mapping.end
        else:
            found.append(Segment(mapping.start, mapping.end, protection))
    return found


def write(fd: int, pid: int, segments: list[Segment], entry: int) -> None:
    """Write the executable to an empty file; `entry` is the address of its first instruction."""
    segments = sorted(segments, key=lambda segment: segment.start)
    offset = _up(64 + 56 * (len(segments) + 1))
    table = [struct.pack("<II6Q", _PT_GNU_STACK, _READ | _WRITE, 0, 0, 0, 0, 0, 16)]
    for segment in segments:
        size = segment.end - segment.start
        place = offset, segment.start, segment.start, size, size, PAGE
        table.append(struct.pack("<II6Q", _PT_LOAD, segment.protection, *place))
        _copy(fd, offset, pid, segment)
        offset += size
    os.ftruncate(fd, offset)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, len(table), 0, 0, 0)
    os.pwrite(fd, ident + header + b"".join(table), 0)


def _up(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _copy(fd: int, offset: int, pid: int, segment: Segment) -> None:
    """The bytes of a segment; memory without any access stays a hole, and so do pages of zeros."""
    if not segment.protection:
        return
    for start in range(segment.start, segment.end, _CHUNK):
        size = min(_CHUNK, segment.end - start)
        content = segment.content if segment.content is not None else vm.read(pid, start, size)
        for position in range(0, len(content), PAGE):
            piece = content[position : position + PAGE]
            if piece != _ZEROS[: len(piece)]:
                os.pwrite(fd, piece, offset + start - segment.start + position)
