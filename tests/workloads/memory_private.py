"""Private memory without a file: protected, advised, locked, guarded, growing, sealed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from lib import Check
from memory_areas import (
    ANONYMOUS,
    EXEC,
    PAGE,
    PRIVATE,
    READ,
    WRITE,
    Kind,
    area,
    call,
    get,
    libc,
    put,
    same,
    smaps,
    system_call,
    written,
)


def protected(check: Check) -> Iterator[None]:
    address = written()
    call("mprotect", address, 8 * PAGE, 0)
    yield
    check.equal(smaps(address)[0], "---p", "protection")
    call("mprotect", address, 8 * PAGE, READ)
    check.equal(get(address), b"hello", "contents")


def advised(advice: int, **options: int) -> Kind:
    def kind(check: Check) -> Iterator[None]:
        address = written(1024, **options)
        call("madvise", address, 1024 * PAGE, advice)
        return same(check, address)

    return kind


def locked(flags: int) -> Kind:
    def kind(check: Check) -> Iterator[None]:
        address = written()
        call("mlock2", address, 8 * PAGE, flags)
        return same(check, address)

    return kind


def guard(check: Check) -> Iterator[None]:
    address = written(8)
    put(address + 7 * PAGE, b"after")
    call("madvise", address + 2 * PAGE, 2 * PAGE, 102)
    yield
    check.equal((get(address), get(address + 7 * PAGE)), (b"hello", b"after"), "contents")
    for page, guarded in ((1, False), (2, True), (3, True), (4, False)):
        pid = os.fork()
        if pid == 0:
            get(address + page * PAGE)
            os._exit(0)
        check.equal(os.WIFSIGNALED(os.waitpid(pid, 0)[1]), guarded, f"the guard at page {page}")


def heap(check: Check) -> Iterator[None]:
    start = call("sbrk", 8 * PAGE)
    put(start, b"hello")
    yield
    check.equal(get(start), b"hello", "contents")
    check.equal(call("sbrk", PAGE), start + 8 * PAGE, "where brk goes on")


def grows_down(check: Check) -> Iterator[None]:
    reserved = area(64, prot=0)
    call("munmap", reserved, 64 * PAGE, 0)
    low = call("mmap", reserved + 60 * PAGE, 4 * PAGE, READ | WRITE, PRIVATE | ANONYMOUS | 0x100 | 0x10, -1, 0)
    put(low, b"hello")
    for step in range(1, 4):
        put(low - step * PAGE, b"grown")
    yield
    check.equal((get(low), get(low - 3 * PAGE)), (b"hello", b"grown"), "contents")
    put(low - 4 * PAGE, b"grows")


def many(check: Check) -> Iterator[None]:
    count = 30000
    address = area(2 * count)
    for index in range(0, 2 * count, 2):
        if index % 1000 == 0:
            put(address + index * PAGE, b"%5d" % index)
        call("mprotect", address + index * PAGE, PAGE, READ)
    before = Path("/proc/self/maps").read_text().count("\n")
    yield
    after = Path("/proc/self/maps").read_text().count("\n")
    check.that(abs(after - before) < 50, f"{after} mappings instead of {before}")
    for index in range(0, 2 * count, 1000):
        check.equal(get(address + index * PAGE), b"%5d" % index, "contents")


def no_huge_pages(check: Check) -> Iterator[None]:
    libc.prctl(41, 1, 0, 0, 0)
    yield
    check.equal(libc.prctl(42, 0, 0, 0, 0), 1, "PR_GET_THP_DISABLE")


def sealed(check: Check) -> Iterator[None]:
    """It was made writable once, read-only afterwards, then sealed."""
    address = written()
    call("mprotect", address, 4 * PAGE, READ)
    system_call(462, address, 8 * PAGE, 0)
    before = [smaps(address), smaps(address + 4 * PAGE)]
    yield
    check.equal([smaps(address), smaps(address + 4 * PAGE)], before, "flags in smaps")
    check.equal(get(address), b"hello", "contents")
    check.equal(libc.munmap(address, PAGE, 0), -1, "munmap(2) of sealed memory")
    put(address + 5 * PAGE, b"again")


def execute_only(check: Check) -> Iterator[None]:
    """A function that cannot be read where the processor has protection keys."""
    address = area(2)
    put(address, b"\xb8\x2a\x00\x00\x00\xc3")  # mov eax, 42; ret
    call("mprotect", address, 2 * PAGE, EXEC)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(address)

    def key() -> list[str]:
        text = Path("/proc/self/smaps").read_text().split(f"{address:x}-")[1]
        return [line for line in text.split("VmFlags")[0].splitlines() if "Key" in line]

    before = smaps(address), key(), function()
    yield
    check.equal((smaps(address), key(), function()), before, "flags, key and result")


KINDS: dict[str, Kind] = {
    "anonymous": lambda check: same(check, written()),
    "noreserve": lambda check: same(check, written(flags=PRIVATE | ANONYMOUS | 0x4000)),
    "protected": protected,
    "locked": locked(0),
    "locked-on-fault": locked(1),
    "dontfork": advised(10),
    "wipeonfork": advised(18),
    "dontdump": advised(16),
    "mergeable": advised(12),
    "hugepage": advised(14),
    "nohugepage": advised(15),
    "sequential": advised(2),
    "guard": guard,
    "heap": heap,
    "grows-down": grows_down,
    "many": many,
    "no-huge-pages": no_huge_pages,
    "sealed": sealed,
    "execute-only": execute_only,
}
