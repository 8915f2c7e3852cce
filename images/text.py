"""Strings of the schema that the kernel lets be any bytes: paths, names of tasks and devices.

A string field of a message must be UTF-8, a path need not. Read and set such fields here: text is Python's
own form of file names, with lone surrogates for bytes that are no UTF-8 (the error handler surrogateescape).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

_LENGTH_DELIMITED = 2


def get_text(message: Message, field: str) -> str:
    """The field as text, whatever bytes it has."""
    value: str | bytes = getattr(message, field)
    return decode_text(value)


def set_text(message: Message, field: str, value: str | bytes) -> None:
    """Set an optional or required string field to text or bytes that may be no UTF-8."""
    data = encode_text(value)
    number = message.DESCRIPTOR.fields_by_name[field].number
    message.ClearField(field)
    # Messages refuse such a value, but take it from the wire: say it there.
    message.MergeFromString(_varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(data)) + data)


def decode_text(value: str | bytes) -> str:
    """What a string field gives (bytes where it is no UTF-8) as text."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def encode_text(value: str | bytes) -> bytes:
    """The bytes that `decode_text` made text of."""
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
