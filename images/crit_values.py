"""Messages to JSON values and back, in the form that tools of this format use.

The plain form has numbers as numbers; the pretty form prints addresses in hexadecimal, IP addresses, device
numbers and names as the `show` options of the schema say. Either form is read back.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import quopri
import socket
from functools import cache
from typing import TYPE_CHECKING, Any

from images.crit_names import bits_of_names, name_bits, name_value, value_of_name
from images.text import decode_text, encode_text, set_text

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from images import messages as m

_MINOR_BITS = 20
_BYTES, _STRING, _BOOL, _ENUM, _MESSAGE = 12, 9, 8, 14, 11  # FieldDescriptor.TYPE_*


def to_json(message: Message, pretty: bool, hexadecimal: bool = False) -> dict[str, Any]:
    """The fields that are set, by number. `hexadecimal` prints every number in the message so."""
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.is_repeated and pretty and _show(field).ipadd and len(value) in (1, 4):
            values[field.name] = [_print_address(value)]
        elif field.is_repeated:
            values[field.name] = [_print(field, item, pretty, hexadecimal) for item in value]
        else:
            values[field.name] = _print(field, value, pretty, hexadecimal)
    return values


def from_json(values: dict[str, Any], message: Message) -> None:
    """Set the fields of `message`. Raises ValueError, naming the field, for what cannot be one."""
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in values.items():
        field = fields.get(name)
        if field is None:
            raise ValueError(f"{message.DESCRIPTOR.name} has no field {name}")
        try:
            _set(message, field, value)
        except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as err:
            raise ValueError(f"{message.DESCRIPTOR.name}.{name}: {err}") from err


def encode_base64(data: bytes) -> str:
    """Base64 in lines, as every binary value in the JSON is written."""
    return base64.encodebytes(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """What `encode_base64` wrote; line breaks do not matter."""
    return base64.b64decode("".join(text.split()), validate=True)


def encode_name(name: bytes) -> str:
    """A socket's name in quoted-printable: zero bytes and non-ASCII are =XX."""
    return quopri.encodestring(name).decode("ascii")


@cache
def _show(field: Any) -> m.CRIU_Opts:
    """How the schema wants the field shown: an option that only the generated modules have."""
    from importlib import import_module

    from google.protobuf import descriptor_pool

    from images.schema import options_pb2
    from images.schema.index import MODULES

    owner = field.containing_type
    import_module(f"images.schema.{MODULES[owner.full_name.partition('.')[0]]}")
    same: Any = descriptor_pool.Default().FindMessageTypeByName(owner.full_name)
    options: Any = same.fields_by_name[field.name].GetOptions()
    form: m.CRIU_Opts = options.Extensions[options_pb2.show]
    return form


def _print(field: Any, value: Any, pretty: bool, hexadecimal: bool) -> Any:
    if field.type == _MESSAGE:
        return to_json(value, pretty, hexadecimal or _show(field).hex)
    if field.type == _ENUM:
        return field.enum_type.values_by_number[value].name
    if field.type == _BYTES:
        return encode_name(value) if _show(field).conv else encode_base64(value)
    if field.type == _STRING:
        # A path may be any bytes; those that are no UTF-8 arrive here as bytes.
        return decode_text(value)
    if field.type == _BOOL or not pretty:
        return value
    return _print_number(field, value, hexadecimal)


def _print_number(field: Any, value: int, hexadecimal: bool) -> str | int:
    show = _show(field)
    if hexadecimal or show.hex:
        return f"0x{value:x}"
    if show.dev:
        return _print_device(value, show.odev)
    if show.flags:
        return name_bits(value, show.flags)
    if show.dict:
        return name_value(value, show.dict, field.name)
    return value


def _print_device(value: int, old: bool) -> str:
    if old:
        return f"{os.major(value)}:{os.minor(value)}"
    return f"{value >> _MINOR_BITS}:{value & ((1 << _MINOR_BITS) - 1)}"


def _print_address(words: Any) -> str:
    """Words are in network byte order, whatever the order of this machine."""
    packed = b"".join(socket.ntohl(word).to_bytes(4, "big") for word in words)
    return ipaddress.ip_address(packed).compressed


def _set(message: Message, field: Any, value: Any) -> None:
    target = getattr(message, field.name)
    if field.is_repeated:
        if value and _show(field).ipadd and isinstance(value[0], str):
            target.extend(_parse_address(value[0]))
        elif field.type == _MESSAGE:
            for item in value:
                from_json(item, target.add())
        else:
            target.extend(_parse(field, item) for item in value)
    elif field.type == _MESSAGE:
        target.SetInParent()  # a message without fields is not the same as no message
        from_json(value, target)
    else:
        _set_scalar(message, field, _parse(field, value))


def _set_scalar(message: Message, field: Any, value: Any) -> None:
    if isinstance(value, bytes) and field.type == _STRING:
        set_text(message, field.name, value)
    else:
        setattr(message, field.name, value)


def _parse(field: Any, value: Any) -> Any:
    if field.type == _BYTES:
        return quopri.decodestring(value) if _show(field).conv else decode_base64(value)
    if field.type == _ENUM:
        return field.enum_type.values_by_name[value].number
    if field.type == _STRING:
        return value if value.isprintable() else encode_text(value)
    if field.type == _BOOL:
        return bool(value)
    return _parse_number(field, value) if isinstance(value, str) else value


def _parse_number(field: Any, text: str) -> int:
    show = _show(field)
    if show.dev and ":" in text:
        major, minor = (int(part) for part in text.split(":"))
        return os.makedev(major, minor) if show.odev else major << _MINOR_BITS | minor
    if show.flags:
        return bits_of_names(text, show.flags)
    if show.dict:
        return value_of_name(text, show.dict, field.name)
    return int(text, 0)


def _parse_address(text: str) -> list[int]:
    packed = ipaddress.ip_address(text).packed
    words = (int.from_bytes(packed[at : at + 4], "big") for at in range(0, len(packed), 4))
    return [socket.htonl(word) for word in words]
