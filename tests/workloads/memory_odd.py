"""Memory that the kernel has its own ideas about: aio rings, the vDSO, limits, more than there is."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from lib import Check
from memory_areas import (
    ANONYMOUS,
    PAGE,
    PRIVATE,
    READ,
    WRITE,
    Kind,
    call,
    file_of,
    get,
    libc,
    put,
    system_call,
)


def aio(check: Check) -> Iterator[None]:
    handle = ctypes.c_uint64()
    system_call(206, 64, ctypes.addressof(handle))
    before = handle.value
    fd = file_of(PAGE)
    target = ctypes.create_string_buffer(512)
    yield
    request = (ctypes.c_uint64 * 8)(7, 0, fd << 32, ctypes.addressof(target), 512, 0, 0, 0)  # IOCB_CMD_PREAD is 0
    pointer = (ctypes.c_uint64 * 1)(ctypes.addressof(request))
    check.equal(system_call(209, before, 1, ctypes.addressof(pointer)), 1, "io_submit")
    events = (ctypes.c_uint64 * 4)()
    check.equal(system_call(208, before, 1, 1, ctypes.addressof(events)), 1, "io_getevents")
    check.equal((events[0], target.raw[:5]), (7, b"begin"), "the answer")


def aio_waiting(check: Check) -> Iterator[None]:
    """Events are in the ring, its head has gone round once and further."""
    handle, events = ctypes.c_uint64(), (ctypes.c_uint64 * 4)()
    system_call(206, 10, ctypes.addressof(handle))
    fd = file_of(PAGE)
    target = ctypes.create_string_buffer(512)
    request = (ctypes.c_uint64 * 8)(0, 0, fd << 32, ctypes.addressof(target), 512, 0, 0, 0)
    pointer = (ctypes.c_uint64 * 1)(ctypes.addressof(request))
    room = struct.unpack("I", get(handle.value + 4, 4))[0]
    for number in range(room + 20):
        request[0] = number
        check.equal(system_call(209, handle.value, 1, ctypes.addressof(pointer)), 1, "io_submit")
        if number >= 9:
            system_call(208, handle.value, 1, 1, ctypes.addressof(events))
    before = get(handle.value + 8, 8)
    yield
    check.equal(get(handle.value + 8, 8), before, "head and tail")
    found = []
    while system_call(208, handle.value, 0, 1, ctypes.addressof(events)) == 1:
        found.append((events[0], events[2]))
    check.equal(found, [(number, 512) for number in range(room + 11, room + 20)], "events")


def tight(check: Check) -> Iterator[None]:
    """Not a page of address space more than there is."""
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_DATA, (size // 2, resource.RLIM_INFINITY))
    yield
    check.equal(resource.getrlimit(resource.RLIMIT_AS)[0], size, "RLIMIT_AS")


def vdso_gone(word: str) -> Kind:
    """Mappings whose names begin with `word` are gone."""

    def names(maps: str) -> list[str]:
        return [line for line in maps.splitlines() if "[v" in line and "vsys" not in line]

    def kind(check: Check) -> Iterator[None]:
        """In a child that does nothing but wait, since libc counts on the vDSO."""
        pid = os.fork()
        if pid == 0:
            raw = ctypes.PyDLL(None)  # keeps the interpreter's lock: to take it again needs a clock
            raw.munmap.argtypes = libc.munmap.argtypes[:2]
            spans = [line.split()[0].split("-") for line in names(Path("/proc/self/maps").read_text()) if word in line]
            for start, end in spans:
                raw.munmap(int(start, 16), int(end, 16) - int(start, 16))
            while True:
                raw.pause()
        while "[vdso]" in (maps := Path(f"/proc/{pid}/maps").read_text()):
            os.sched_yield()
        yield
        after = Path(f"/proc/{pid}/maps").read_text()
        check.equal(names(after), names(maps), "vDSO and its variables")
        check.equal(after.count("\n"), maps.count("\n"), "mappings")
        os.kill(pid, 9)
        check.equal(os.waitpid(pid, 0)[1], 9, "the child")

    return kind


def more_than_there_is(check: Check) -> Iterator[None]:
    """Asked for little by little: the kernel refuses only single requests of that size (vm.overcommit_memory 0)."""
    piece, total = 256 << 20, os.sysconf("SC_PHYS_PAGES") * PAGE
    pieces = total // piece + 4
    start = call("mmap", None, pieces * piece, 0, PRIVATE | ANONYMOUS | 0x4000, -1, 0)
    for number in range(pieces):
        call("mmap", start + number * piece, piece, READ | WRITE, PRIVATE | ANONYMOUS | 0x10, -1, 0)
    end = start + pieces * piece
    put(start, b"first")
    put(end - PAGE, b"last!")

    def line() -> str:
        return next(line for line in Path("/proc/self/maps").read_text().splitlines() if line.startswith(f"{start:x}-"))

    before = line()
    yield
    check.equal((get(start), get(end - PAGE)), (b"first", b"last!"), "contents")
    check.equal(line(), before, "the mapping")


KINDS: dict[str, Kind] = {
    "aio": aio,
    "aio-waiting": aio_waiting,
    "tight": tight,
    "more-than-there-is": more_than_there_is,
    "no-vdso": vdso_gone("[v"),
    "no-vdso-code": vdso_gone("[vdso]"),
}
