"""A hash table and an array of bpf(2), each with two descriptors."""

from __future__ import annotations

import ctypes
import os
import struct

from lib import workload

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = int(libc.syscall(321, command, buffer, 128))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def create(kind: int, entries: int, name: bytes) -> int:
    return bpf(0, struct.pack("<7I16s", kind, 4, 8, entries, 0, 0, 0, name))


def put(fd: int, key: int, value: int) -> None:
    k, v = ctypes.c_uint32(key), ctypes.c_uint64(value)
    bpf(2, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))


def get(fd: int, key: int) -> int:
    k, v = ctypes.c_uint32(key), ctypes.c_uint64()
    bpf(1, struct.pack("<IIQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v)))
    return v.value


def info(fd: int) -> list[str]:
    with open(f"/proc/self/fdinfo/{fd}") as text:
        return [line for line in text if not line.startswith(("map_id", "memlock", "mnt_id", "ino"))]


with workload() as check:
    table = create(1, 100, b"a_table")
    for key in range(50):
        put(table, key * 7, key << 33)
    array = create(2, 10, b"an_array")
    for key in range(10):
        put(array, key, key + 1)
    same = os.dup(table)
    frozen = create(2, 3, b"frozen")
    put(frozen, 1, 42)
    bpf(22, struct.pack("<I", frozen))
    before = [info(fd) for fd in (table, array, same, frozen)]
    check.wait()
    check.equal([info(fd) for fd in (table, array, same, frozen)], before, "fdinfo")
    check.equal([get(table, key * 7) for key in range(50)], [key << 33 for key in range(50)], "table")
    check.equal([get(array, key) for key in range(10)], list(range(1, 11)), "array")
    put(same, 1, 2)
    check.equal(get(table, 1), 2, "the same table")
    check.equal(get(frozen, 1), 42, "frozen array")
    try:
        put(frozen, 1, 43)
        check.that(False, "the frozen array takes a value")
    except PermissionError:
        pass
