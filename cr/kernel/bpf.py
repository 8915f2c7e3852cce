"""bpf(2), as far as maps go."""

from __future__ import annotations

import contextlib
import ctypes
import struct
from collections.abc import Iterator

from cr.kernel.libc import syscall

MAP_TYPE_HASH, MAP_TYPE_ARRAY = 1, 2
_MAP_CREATE, _LOOKUP, _UPDATE, _NEXT_KEY, _OPEN_BY_ID, _INFO, _FREEZE = 0, 1, 2, 4, 14, 15, 22
_ATTR_SIZE = 128


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(_ATTR_SIZE, b"\0"), _ATTR_SIZE)
    return syscall("bpf", 321, command, buffer, _ATTR_SIZE)


def map_create(
    kind: int, key_size: int, value_size: int, max_entries: int, flags: int, name: str, ifindex: int, extra: int
) -> int:
    """A descriptor of a new map; close-on-exec."""
    head = struct.pack("<7I16s", kind, key_size, value_size, max_entries, flags, 0, 0, name.encode()[:15])
    return _bpf(_MAP_CREATE, head + struct.pack("<5IQ", ifindex, 0, 0, 0, 0, extra))


def _info(fd: int) -> bytes:
    """struct bpf_map_info."""
    info = ctypes.create_string_buffer(88)
    _bpf(_INFO, struct.pack("<IIQ", fd, 88, ctypes.addressof(info)))
    return info.raw


def map_name(fd: int) -> tuple[str, int]:
    """Name and interface index of a map."""
    info = _info(fd)
    return info[24:40].split(b"\0")[0].decode(), struct.unpack_from("<I", info, 40)[0]


def map_open(fd: int) -> int:
    """Another open file description of a map; close-on-exec."""
    return _bpf(_OPEN_BY_ID, struct.pack("<I", struct.unpack_from("<I", _info(fd), 4)[0]))


def map_items(fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Every key of a map with its value; nobody may change it meanwhile."""
    key, value = ctypes.create_string_buffer(key_size), ctypes.create_string_buffer(value_size)
    previous = 0
    with contextlib.suppress(FileNotFoundError):  # the end
        while True:
            _bpf(_NEXT_KEY, struct.pack("<IIQQ", fd, 0, previous, ctypes.addressof(key)))
            _bpf(_LOOKUP, struct.pack("<IIQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(value)))
            yield key.raw, value.raw
            previous = ctypes.addressof(key)


def map_update(fd: int, key: bytes, value: bytes) -> None:
    keys, values = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_UPDATE, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(keys), ctypes.addressof(values), 0))


def map_freeze(fd: int) -> None:
    """From now on programs alone may write to it."""
    _bpf(_FREEZE, struct.pack("<I", fd))
