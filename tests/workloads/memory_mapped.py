"""Mapped files, and memory that several share."""

from __future__ import annotations

import os
from collections.abc import Iterator

from lib import DIRECTORY, Check
from memory_areas import (
    ANONYMOUS,
    EXEC,
    HUGE,
    PAGE,
    PRIVATE,
    READ,
    SHARED,
    WRITE,
    Kind,
    area,
    call,
    file_of,
    get,
    put,
    same,
    smaps,
    written,
)


def private_file(check: Check) -> Iterator[None]:
    fd = file_of(3 * PAGE)
    address = area(3, PRIVATE, fd=fd)
    os.close(fd)
    put(address + PAGE, b"hello")
    yield
    check.equal((get(address), get(address + PAGE)), (b"begin", b"hello"), "contents")
    check.equal((DIRECTORY / "mapped").read_bytes()[PAGE : PAGE + 5], b".....", "the file")


def shared_file(check: Check) -> Iterator[None]:
    fd = file_of(3 * PAGE)
    address = area(3, SHARED, fd=fd)
    readable = area(3, SHARED, fd=fd, prot=READ)
    os.close(fd)
    put(address + PAGE, b"hello")
    yield
    check.equal((get(address), get(readable + PAGE)), (b"begin", b"hello"), "contents")
    put(address, b"write")
    check.equal((DIRECTORY / "mapped").read_bytes()[:5], b"write", "the file")
    call("mprotect", readable, PAGE, READ | WRITE)  # it was mapped from a writable file


def short_file(check: Check) -> Iterator[None]:
    """Larger than its file: what is behind the end stays out of reach."""
    fd = file_of(100)
    address = area(3, PRIVATE, fd=fd)
    os.close(fd)
    yield
    check.equal(get(address, 100)[:5], b"begin", "contents")
    pid = os.fork()
    if pid == 0:
        get(address + 2 * PAGE)
        os._exit(0)
    check.equal(os.WTERMSIG(os.waitpid(pid, 0)[1]), 7, "SIGBUS behind the end")


def part_of_file(check: Check) -> Iterator[None]:
    fd = file_of(16 * PAGE)
    os.pwrite(fd, b"fifth", 5 * PAGE)
    address = area(2, PRIVATE, fd=fd, offset=5 * PAGE, prot=READ | EXEC)
    os.close(fd)
    return same(check, address, b"fifth")


def dev_zero(check: Check) -> Iterator[None]:
    fd = os.open("/dev/zero", os.O_RDWR)
    private, shared = written(flags=PRIVATE, fd=fd), written(flags=SHARED, fd=fd)
    os.close(fd)
    yield
    check.equal((get(private), get(shared)), (b"hello", b"hello"), "contents")


def shared_with_child(check: Check) -> Iterator[None]:
    address = written(flags=SHARED | ANONYMOUS)
    pid = os.fork()
    if pid == 0:
        while get(address) != b"enter":
            os.sched_yield()
        put(address + PAGE, b"child")
        os._exit(0)
    yield
    check.equal(get(address), b"hello", "contents")
    put(address, b"enter")
    os.waitpid(pid, 0)
    check.equal(get(address + PAGE), b"child", "what the child wrote")


def opened_shared(check: Check) -> Iterator[None]:
    """Shared anonymous memory opened through /proc, mapped once more in both ways."""
    first = written(flags=SHARED | ANONYMOUS)
    fd = os.open(f"/proc/self/map_files/{first:x}-{first + 8 * PAGE:x}", os.O_RDWR)
    again, private = area(4, SHARED, fd=fd, offset=2 * PAGE), area(flags=PRIVATE, fd=fd)
    os.ftruncate(fd, 7 * PAGE + 5)
    put(private + PAGE, b"alone")
    put(again, b"third")
    names = os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size
    yield
    check.equal((os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size), names, "the open file")
    check.equal((get(first), get(private), get(private + PAGE)), (b"hello", b"hello", b"alone"), "contents")
    check.equal((get(first + 2 * PAGE), get(private + 2 * PAGE)), (b"third", b"third"), "contents")
    put(first + 3 * PAGE, b"again")
    check.equal((get(again + PAGE), os.pread(fd, 5, 3 * PAGE)), (b"again", b"again"), "one memory")


def huge(flags: int) -> Kind:
    def kind(check: Check) -> Iterator[None]:
        address = written(2 * HUGE // PAGE, flags=flags | ANONYMOUS | 0x40000)
        return same(check, address)

    return kind


def attached(check: Check) -> Iterator[None]:
    segment = call("shmget", 0, 8 * PAGE, 0o1600)
    address = call("shmat", segment, None, 0)
    readable = call("shmat", segment, None, 0o10000)
    put(address, b"hello")
    call("munmap", address + 3 * PAGE, 2 * PAGE, 0)
    before = smaps(address), smaps(address + 3 * PAGE), smaps(address + 6 * PAGE), smaps(readable)
    yield
    after = smaps(address), smaps(address + 3 * PAGE), smaps(address + 6 * PAGE), smaps(readable)
    check.equal(after, before, "mappings")
    put(address + 6 * PAGE, b"again")
    check.equal((get(address), get(readable + 6 * PAGE)), (b"hello", b"again"), "contents")
    call("shmctl", segment, 0, 0)


def memfd(check: Check) -> Iterator[None]:
    fd = os.memfd_create("kept")
    os.ftruncate(fd, 8 * PAGE)
    shared, private = written(flags=SHARED, fd=fd), area(flags=PRIVATE, fd=fd)
    os.close(fd)
    put(private + PAGE, b"alone")
    yield
    check.equal((get(shared), get(private), get(private + PAGE)), (b"hello", b"hello", b"alone"), "contents")
    put(shared + 2 * PAGE, b"third")
    check.equal(get(private + 2 * PAGE), b"third", "one memory")


KINDS: dict[str, Kind] = {
    "private-file": private_file,
    "shared-file": shared_file,
    "short-file": short_file,
    "part-of-file": part_of_file,
    "dev-zero": dev_zero,
    "shared": lambda check: same(check, written(flags=SHARED | ANONYMOUS)),
    "shared-with-child": shared_with_child,
    "opened-shared": opened_shared,
    "huge-private": huge(PRIVATE),
    "huge-shared": huge(SHARED),
    "sysv": attached,
    "memfd": memfd,
}
