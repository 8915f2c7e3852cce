"""Raw bytes that follow an entry: how many, where, and what the System V message queues put there."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from images.errors import ImageError
from images.file import ImageFile
from images.kinds import PayloadRule

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from images import messages as m

_SIZE = struct.Struct("<I")
_COPY = 1 << 20


class Payload:
    """A slice of an image file, read only when asked for. Empty for entries that have none."""

    __slots__ = ("_file", "offset", "size")

    def __init__(self, file: ImageFile, offset: int, size: int) -> None:
        self._file = file
        self.offset = offset
        self.size = size

    @property
    def fd(self) -> int:
        """Descriptor of the image, good as long as this object lives: for pread, sendfile."""
        return self._file.fd

    def bytes(self) -> bytes:
        """All of it."""
        return self._file.read(self.offset, self.size, "the data after an entry")

    def chunks(self, size: int = _COPY) -> Iterator[memoryview]:
        """All of it in pieces of at most `size` bytes."""
        for start in range(0, self.size, size):
            length = min(size, self.size - start)
            yield memoryview(self._file.read(self.offset + start, length, "the data after an entry"))


def padding(rule: PayloadRule, size: int) -> int:
    """How many zero bytes stand after a payload of `size` bytes."""
    unit = {PayloadRule.SHM: 4, PayloadRule.SEM: 8}.get(rule, 1)
    return -size % unit


def declared_size(rule: PayloadRule, entry: Message) -> int | None:
    """The payload size that an entry states; None where only the bytes themselves tell (see `locate`)."""
    match rule:
        case PayloadRule.NONE:
            return 0
        case PayloadRule.PIPE:
            return _field(entry, "bytes")
        case PayloadRule.PACKET:
            return _field(entry, "length")
        case PayloadRule.TCP:
            return _field(entry, "inq_len") + _field(entry, "outq_len")
        case PayloadRule.SHM:
            return 0 if _field(entry, "in_pagemaps") else _field(entry, "size")
        case PayloadRule.SEM:
            return 2 * _field(entry, "nsems")
        case PayloadRule.BPF:
            return _field(entry, "keys_bytes") + _field(entry, "values_bytes")
        case PayloadRule.GHOST if entry.DESCRIPTOR.name == "ghost_chunk_entry":
            return _field(entry, "len")
        case PayloadRule.GHOST if _field(entry, "chunks"):
            return 0
    return None


def locate(rule: PayloadRule, entry: Message, file: ImageFile, offset: int) -> tuple[Payload, int]:
    """The payload of an entry that ended at `offset`, and where the next entry begins.

    Raises ImageError if the file ends before the payload does.
    """
    size = declared_size(rule, entry)
    if size is None:
        size = _queue_size(_field(entry, "qnum"), file, offset) if rule is PayloadRule.MSG else file.size - offset
    after = offset + size + padding(rule, size)
    if after > file.size:
        left = file.size - offset
        raise ImageError(file.path, f"the entry promises {after - offset} bytes of data, {left} are left", offset)
    return Payload(file, offset, size), after


def encode_queue(queue: Iterable[tuple[m.ipc_msg, bytes]]) -> bytes:
    """The payload of an ipc_msg_entry: its messages with their texts (of msize bytes), in order."""
    parts: list[bytes] = []
    for header, text in queue:
        if header.msize != len(text):
            raise ValueError(f"a message of {len(text)} bytes has msize {header.msize}")
        packed = header.SerializeToString()
        parts += (_SIZE.pack(len(packed)), packed, text, bytes(-len(text) % 8))
    return b"".join(parts)


def decode_queue(payload: Payload) -> list[tuple[m.ipc_msg, bytes]]:
    """The messages in the payload of an ipc_msg_entry, oldest first."""
    file, end = payload._file, payload.offset + payload.size
    return [
        (header, file.read(start, header.msize, "the text of a message"))
        for header, start in _queue(file, payload.offset, end, None)
    ]


def _queue_size(count: int, file: ImageFile, offset: int) -> int:
    after = offset
    for header, start in _queue(file, offset, file.size, count):
        after = start + header.msize + -header.msize % 8
    return after - offset


def _queue(file: ImageFile, offset: int, end: int, count: int | None) -> Iterator[tuple[m.ipc_msg, int]]:
    """Each message header with the offset of its text, until `end` or `count` messages."""
    from images import messages as m
    from images.entry import read_entry

    while offset < end if count is None else count > 0:
        header, start = read_entry(file, offset, m.ipc_msg)
        offset = start + header.msize + -header.msize % 8
        if offset > end:
            raise ImageError(file.path, "the text of a message ends outside the image", start)
        count = count if count is None else count - 1
        yield header, start


def _field(entry: Message, name: str) -> int:
    return int(getattr(entry, name))
