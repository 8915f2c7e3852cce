"""Entries of an image, one after the other: the reading and the writing half of the format."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from images.errors import ImageError
from images.file import ImageFile, write_all
from images.kinds import Header, ImageKind
from images.payload import Payload, declared_size, locate, padding

if TYPE_CHECKING:
    from google.protobuf.message import Message

    M = TypeVar("M", bound=Message)

_WORD = struct.Struct("<I")
_FLUSH_AT = 1 << 16
_WIRE_LIMIT = (1 << 31) - 1


def header_bytes(kind: ImageKind) -> bytes:
    """The magic numbers that an image of this kind begins with."""
    first = kind.header.value
    if kind.header is Header.RAW:
        return b""
    return (b"" if first is None else _WORD.pack(first)) + _WORD.pack(kind.magic)


def read_entry(file: ImageFile, offset: int, message: type[M]) -> tuple[M, int]:
    """The message whose size word stands at `offset`, and the offset after it."""
    from google.protobuf.message import DecodeError

    name = message.DESCRIPTOR.name
    (size,) = _WORD.unpack(file.read(offset, _WORD.size, f"the size of a {name}"))
    if size > _WIRE_LIMIT:
        raise ImageError(file.path, f"a {name} of {size} bytes is more than a message can have", offset)
    start = offset + _WORD.size
    packed = file.read(start, size, f"a {name}")
    try:
        entry = message.FromString(packed)
    except DecodeError as err:
        raise ImageError(file.path, f"these {size} bytes are no {name} ({err})", start) from err
    if not entry.IsInitialized():
        missing = ", ".join(entry.FindInitializationErrors())  # type: ignore[attr-defined]
        raise ImageError(file.path, f"the {name} lacks {missing}", start)
    return entry, start + size


def read_entries(file: ImageFile, kind: ImageKind) -> Iterator[tuple[Message, Payload]]:
    """Every entry of an open image with its payload, one at a time.

    Raises ImageError, with the file and the byte, where the image is torn or is of another kind.
    """
    from images import messages

    offset = _skip_header(file, kind)
    name = kind.head or kind.message
    while offset < file.size:
        message: type[Message] = getattr(messages, name)
        entry, offset = read_entry(file, offset, message)
        payload, offset = locate(kind.payload, entry, file, offset)
        yield entry, payload
        name = kind.message


def _skip_header(file: ImageFile, kind: ImageKind) -> int:
    """Where the first entry is. Format 1.0 had no magic number before the file's own."""
    own = _WORD.pack(kind.magic)
    if file.read(0, _WORD.size, "the magic number") == own:
        return _WORD.size
    expected = header_bytes(kind)
    found = file.read(0, len(expected), "the magic numbers")
    if found != expected:
        reason = f"begins with {found.hex()}, which no image of kind {kind.name} does ({expected.hex()})"
        raise ImageError(file.path, reason, 0)
    return len(expected)


class ImageWriter:
    """Writes one image: the magic numbers at once, then `add` for each entry; buffered by 64 KiB.

    `make` makes the file when there is something to write; `whole` takes the content of an image that is small.
    """

    def __init__(
        self, make: Callable[[], int], path: str, kind: ImageKind, whole: Callable[[bytes], None] | None = None
    ) -> None:
        self._make = make
        self._whole = whole
        self._fd = -1
        self._path = path
        self._kind = kind
        self._next = kind.head or kind.message
        self._buffer = bytearray(header_bytes(kind))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._whole is not None and self._fd < 0:
                self._whole(bytes(self._buffer))
            elif kind is None:
                self.flush()
        finally:
            if self._fd >= 0:
                os.close(self._fd)

    @property
    def fd(self) -> int:
        """The file itself, positioned after everything added so far: for payloads that the kernel copies."""
        self.flush()
        return self._fd

    def add(self, message: Message, payload: bytes | memoryview | None = None) -> None:
        """Append an entry and the raw bytes after it (padding is added where the format wants it)."""
        name = message.DESCRIPTOR.name
        if name != self._next:
            raise ValueError(f"{self._path} takes a {self._next} here, not a {name}")
        self._next = self._kind.message
        packed = message.SerializeToString()
        self._buffer += _WORD.pack(len(packed))
        self._buffer += packed
        if payload is not None:
            self._add_payload(message, payload)
        if len(self._buffer) >= _FLUSH_AT:
            self.flush()

    def _add_payload(self, message: Message, payload: bytes | memoryview) -> None:
        rule = self._kind.payload
        size = len(payload) if isinstance(payload, bytes) else payload.nbytes
        declared = declared_size(rule, message)
        if declared is not None and declared != size:
            name = message.DESCRIPTOR.name
            raise ValueError(f"{self._path}: {size} bytes of data after a {name} that promises {declared}")
        if size >= _FLUSH_AT:
            write_all(self.fd, self._path, payload)
        else:
            self._buffer += payload
        self._buffer += bytes(padding(rule, size))

    def flush(self) -> None:
        """Hand everything buffered to the kernel."""
        if self._fd < 0:
            self._fd = self._make()
        if self._buffer:
            write_all(self._fd, self._path, self._buffer)
            self._buffer = bytearray()
