"""A whole image to JSON and back: {"magic": name, "entries": [...]}, raw data as "extra" of its entry."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from images.crit_values import decode_base64, encode_base64, from_json, to_json
from images.entry import ImageWriter, read_entries
from images.errors import ImageError
from images.file import ImageFile
from images.kinds import (
    COMMON_MAGIC,
    SERVICE_MAGIC,
    ImageKind,
    PayloadRule,
    kind_by_magic,
    kind_by_magic_name,
)
from images.payload import Payload, declared_size, decode_queue, encode_queue

if TYPE_CHECKING:
    from google.protobuf.message import Message


def image_kind(file: ImageFile) -> ImageKind:
    """What an image is, by its magic number. Raises ImageError for raw images and other files."""
    magic = int.from_bytes(file.read(0, 4, "the magic number"), "little")
    if magic in (COMMON_MAGIC, SERVICE_MAGIC):
        magic = int.from_bytes(file.read(4, 4, "the magic number"), "little")
    kind = kind_by_magic(magic)
    if kind is None:
        reason = f"unknown magic {magic:#x}; images of raw data, such as pages, cannot be decoded"
        raise ImageError(file.path, reason, 0)
    return kind


def decode(file: ImageFile, pretty: bool, with_data: bool = True) -> dict[str, Any]:
    """The image as JSON values; without data, "extra" says only how long it is."""
    kind = image_kind(file)
    return {"magic": kind.magic_name, "entries": list(_entries(file, kind, pretty, with_data))}


def _entries(file: ImageFile, kind: ImageKind, pretty: bool, with_data: bool) -> Iterator[dict[str, Any]]:
    for entry, payload in read_entries(file, kind):
        values = to_json(entry, pretty)
        if with_data and _has_extra(kind, entry):
            values["extra"] = _extra(kind, entry, payload)
        elif kind.payload not in (PayloadRule.NONE, PayloadRule.GHOST):
            values["extra"] = f"... <{_human(_data_size(kind, payload))}>"
        yield values


def _has_extra(kind: ImageKind, entry: Any) -> bool:
    if kind.payload is PayloadRule.GHOST:
        return entry.DESCRIPTOR.name == "ghost_chunk_entry" or not entry.chunks
    return kind.payload is not PayloadRule.NONE


def _extra(kind: ImageKind, entry: Any, payload: Payload) -> Any:
    match kind.payload:
        case PayloadRule.TCP:
            data = payload.bytes()
            return {
                "inq": encode_base64(data[: entry.inq_len]),
                "outq": encode_base64(data[entry.inq_len :]),
            }
        case PayloadRule.SEM:
            return list(struct.unpack(f"<{entry.nsems}H", payload.bytes()))
        case PayloadRule.MSG:
            pairs = decode_queue(payload)
            return [item for header, text in pairs for item in (to_json(header, False), encode_base64(text))]
    return encode_base64(payload.bytes())


def _data_size(kind: ImageKind, payload: Payload) -> int:
    """What is said instead of the data: of a queue, headers and texts without padding."""
    if kind.payload is PayloadRule.MSG:
        return sum(header.ByteSize() + len(text) for header, text in decode_queue(payload))
    return payload.size


def _human(size: float) -> str:
    """A size in the largest unit of 1024 that it fills, with one decimal where it is not a whole number."""
    units = ["B", "KB", "MB", "GB", "TB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f}{units[0]}" if size == int(size) else f"{size:.1f}{units[0]}"


def encode(image: Any, fd: int, path: str) -> None:
    """Write JSON values as an image to `fd`. Raises ImageError if they are not one."""
    try:
        kind = kind_by_magic_name(image["magic"])
        entries: list[dict[str, Any]] = image["entries"]
    except (KeyError, TypeError) as err:
        raise ImageError(path, 'an image in JSON is an object with "magic" and "entries"') from err
    if kind is None:
        raise ImageError(path, f"there is no image with the magic name {image['magic']}")
    with ImageWriter(lambda: os.dup(fd), os.fspath(path), kind) as writer:
        for number, values in enumerate(entries):
            try:
                writer.add(*_entry(kind, number, values))
            except (ValueError, RecursionError) as err:
                raise ImageError(path, f"entry {number}: {err}") from err


def _entry(kind: ImageKind, number: int, values: dict[str, Any]) -> tuple[Message, bytes | None]:
    from images import messages

    if not isinstance(values, dict):
        raise ValueError("is not an object")
    name = kind.head if kind.head and number == 0 else kind.message
    message: Message = getattr(messages, name)()
    from_json({key: value for key, value in values.items() if key != "extra"}, message)
    if not message.IsInitialized():
        missing = ", ".join(message.FindInitializationErrors())  # type: ignore[attr-defined]
        raise ValueError(f"{name} lacks {missing}")
    if not _has_extra(kind, message):
        return message, None
    if "extra" not in values and declared_size(kind.payload, message) != 0:
        raise ValueError('has no "extra" with its data')
    return message, _data(kind, values["extra"]) if "extra" in values else None


def _data(kind: ImageKind, extra: Any) -> bytes:
    try:
        match kind.payload:
            case PayloadRule.TCP:
                return decode_base64(extra["inq"]) + decode_base64(extra["outq"])
            case PayloadRule.SEM:
                return struct.pack(f"<{len(extra)}H", *extra)
            case PayloadRule.MSG:
                return encode_queue(_messages(extra))
        return decode_base64(extra)
    except (KeyError, TypeError, AttributeError, struct.error) as err:
        raise ValueError(f'"extra" is not the data of this kind of image ({err})') from err


def _messages(extra: list[Any]) -> Iterator[tuple[Any, bytes]]:
    from images import messages as m

    for at in range(0, len(extra), 2):
        header = m.ipc_msg()
        from_json(extra[at], header)
        yield header, decode_base64(extra[at + 1])
