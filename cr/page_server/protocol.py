"""The protocol of criu's page server, as criu 4.2 speaks it: headers of 32 bytes, some followed by pages.

A dump opens an object (the memory of a task, or a shared memory object), adds runs of pages in ascending order and
goes on to the next object.  A reader, the lazy-pages daemon, asks for pages in any order and gets each run behind a
header of the same form.  CLOSE is answered with a status of 32 bits, and ends the conversation.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from cr.model import CheckpointError
from images.kinds import PageFlag
from images.pages import PAGE_SIZE

ADD = 1
HOLE = 2
OPEN = 3
OPEN_ASKING = 4
"""open, and answer with one byte whether a parent snapshot has the object"""
ASK_PARENT = 5
"""answered with 32 bits: whether a parent snapshot has the object"""
ADD_FLAGGED = 6
"""pages whose bits of pagemap_entry.flags stand in the upper half of the command"""
GET = 7
CLOSE = 0x1023
CLOSE_INCOMPLETE = 0x1024

_HEADER = struct.Struct("<IxxxxQQQ")
SIZE = _HEADER.size
STATUS = struct.Struct("<i")
_KINDS = {1: "pagemap", 2: "pagemap-shmem"}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_MOST_PAGES = 1 << 40


class PageServerError(CheckpointError):
    """The other side of a page server's connection is gone, or does not speak the protocol."""


class Header(NamedTuple):
    """`object` is a kind of image and its number for a dump (see `object_number`), the pid alone for GET."""

    command: int
    flags: int = 0
    nr_pages: int = 0
    vaddr: int = 0
    object: int = 0

    def pack(self) -> bytes:
        return _HEADER.pack(self.command | self.flags << 16, self.nr_pages, self.vaddr, self.object)

    @property
    def size(self) -> int:
        """Bytes of the pages that follow an ADD."""
        return self.nr_pages * PAGE_SIZE


def unpack(data: bytes | bytearray) -> Header:
    """PageServerError where the numbers cannot be those of pages."""
    word, nr_pages, vaddr, target = _HEADER.unpack(data)
    header = Header(word & 0xFFFF, word >> 16, nr_pages, vaddr, target)
    if nr_pages > _MOST_PAGES or vaddr % PAGE_SIZE or vaddr + header.size > 1 << 64:
        raise PageServerError(f"the other side sent a header that cannot be: {nr_pages} pages at {vaddr:#x}")
    return header


def object_number(kind: str, number: int) -> int:
    """What a dump calls the image KIND-NUMBER."""
    return number << 8 | _NUMBERS[kind]


def object_of(number: int) -> tuple[str, int]:
    """(kind of pagemap image, its number)"""
    kind = _KINDS.get(number & 0xFF)
    if kind is None:
        raise PageServerError(f"the other side sends an object of a kind that we do not know ({number & 0xFF})")
    return kind, number >> 8


def added(header: Header) -> PageFlag:
    """The flags of a run that is added; PRESENT where its bytes follow."""
    if header.command == ADD:
        return PageFlag.PRESENT
    return PageFlag.PARENT if header.command == HOLE else PageFlag(header.flags)
