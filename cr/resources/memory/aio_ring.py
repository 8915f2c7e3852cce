"""Rings of asynchronous I/O contexts (io_setup(2)): the address of the ring is the context's id."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cr.contract.vma import VmaResource
from cr.kernel import mman, vm
from cr.values import dataclass
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from cr.contract.dumping import DumpTask
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from cr.remote.program import Program
    from images import messages as m

_HEAD = struct.Struct("<8I")  # struct aio_ring: id, nr, head, tail, magic, compat, incompat, header_length
_MAGIC = 0xA10A10A1
HEAD_SIZE, EVENT_SIZE = _HEAD.size, 32


@dataclass(frozen=True)
class Ring:
    """What its pages begin with; events from `head` to `tail` are there to be fetched."""

    events: int
    """how many there is room for"""
    head: int
    tail: int
    magic: int

    @classmethod
    def read(cls, pid: int, address: int) -> Ring:
        _, events, head, tail, magic, *_ = _HEAD.unpack(vm.read(pid, address, _HEAD.size))
        return cls(events, head, tail, magic)

    @property
    def known(self) -> bool:
        return self.magic == _MAGIC

    @property
    def waiting(self) -> int:
        return (self.tail - self.head) % self.events

    @property
    def length(self) -> int:
        """Bytes of the mapping."""
        return -(-(HEAD_SIZE + EVENT_SIZE * self.events) // vm.PAGE_SIZE) * vm.PAGE_SIZE


class AioRing(VmaResource):
    """Mapped by io_setup(2) and moved with mremap(2); an anonymous mapping holds its place and content meanwhile."""

    status = VmaStatus.AIORING
    also = VmaStatus(0)
    recreated = False
    own_way = True
    inherited = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path.startswith("/[aio]")

    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterable[str]:
        if not Ring.read(task.pid, mapping.start).known:
            yield "is an asynchronous I/O ring of a form that we do not know"

    @classmethod
    def attach(
        cls, room: Callable[[], Program], entries: list[m.vma_entry], task: RestoreTask, context: RestoreContext
    ) -> None:
        flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED
        for entry in entries:
            room().call("mmap", entry.start, entry.end - entry.start, mman.PROT_READ | mman.PROT_WRITE, flags, -1, 0)


def describe(entry: m.vma_entry) -> m.aio_ring_entry:
    """The context of a ring."""
    from images import messages as m

    length = entry.end - entry.start
    return m.aio_ring_entry(id=entry.start, nr_req=requests(length), ring_len=length)


def requests(length: int) -> int:
    """The largest argument of io_setup(2) that gives a ring of `length` bytes (fs/aio.c: twice as many, and two)."""
    return ((length - HEAD_SIZE) // EVENT_SIZE - 2) // 2
