"""One kind of memory (argument 2): prepared, then looked at again, with its flags in smaps."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lib import DIRECTORY, Check, workload

PAGE = 4096
HUGE = 2 << 20
READ, WRITE, EXEC = 1, 2, 4
SHARED, PRIVATE, ANONYMOUS = 1, 2, 0x20
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.shmat.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for _name in ("mprotect", "madvise", "mlock2", "munmap"):
    getattr(libc, _name).argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.syscall.argtypes = [ctypes.c_long] * 6


def call(name: str, *arguments: int) -> int:
    result = getattr(libc, name)(*arguments)
    if result in (-1, ctypes.c_void_p(-1).value):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}{arguments}: {os.strerror(code)}")
    return result


def system_call(number: int, *arguments: int) -> int:
    result = libc.syscall(number, *arguments, *[0] * (5 - len(arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def area(
    pages: int = 8, flags: int = PRIVATE | ANONYMOUS, prot: int = READ | WRITE, fd: int = -1, offset: int = 0
) -> int:
    return call("mmap", None, pages * PAGE, prot, flags, fd, offset)


def put(address: int, text: bytes) -> None:
    ctypes.memmove(address, text, len(text))


def get(address: int, size: int = 5) -> bytes:
    return ctypes.string_at(address, size)


def smaps(address: int) -> tuple[str, str]:
    """Permissions and VmFlags of the mapping at an address."""
    inside, perms = False, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line[0] in "0123456789abcdef":
            span, perms = line.split()[:2]
            start, _, end = span.partition("-")
            inside = int(start, 16) <= address < int(end, 16)
        elif inside and line.startswith("VmFlags"):
            return perms, " ".join(flag for flag in line.split()[1:] if flag != "ac")
    return "", ""


def same(check: Check, address: int, text: bytes | None = b"hello") -> Iterator[None]:
    """Contents and flags are afterwards what they were before."""
    before = smaps(address)
    yield
    check.equal(smaps(address), before, "flags in smaps")
    if text is not None:
        check.equal(get(address), text, "contents")


def written(pages: int = 8, **options: int) -> int:
    address = area(pages, **options)
    put(address, b"hello")
    return address


def protected(check: Check) -> Iterator[None]:
    address = written()
    call("mprotect", address, 8 * PAGE, 0)
    yield
    check.equal(smaps(address)[0], "---p", "protection")
    call("mprotect", address, 8 * PAGE, READ)
    check.equal(get(address), b"hello", "contents")


def advised(advice: int, **options: int) -> Callable[[Check], Iterator[None]]:
    def kind(check: Check) -> Iterator[None]:
        address = written(1024, **options)
        call("madvise", address, 1024 * PAGE, advice)
        return same(check, address)

    return kind


def locked(flags: int) -> Callable[[Check], Iterator[None]]:
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


def file_of(size: int, name: str = "mapped") -> int:
    fd = os.open(DIRECTORY / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, b"begin".ljust(size, b"."))
    return fd


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


def huge(flags: int) -> Callable[[Check], Iterator[None]]:
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


def tight(check: Check) -> Iterator[None]:
    """Not a page of address space more than there is."""
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_DATA, (size // 2, resource.RLIM_INFINITY))
    yield
    check.equal(resource.getrlimit(resource.RLIMIT_AS)[0], size, "RLIMIT_AS")


def vdso_gone(word: str) -> Callable[[Check], Iterator[None]]:
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


KINDS: dict[str, Callable[[Check], Iterator[None]]] = {
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
    "aio": aio,
    "aio-waiting": aio_waiting,
    "many": many,
    "no-huge-pages": no_huge_pages,
    "sealed": sealed,
    "tight": tight,
    "execute-only": execute_only,
    "more-than-there-is": more_than_there_is,
    "no-vdso": vdso_gone("[v"),
    "no-vdso-code": vdso_gone("[vdso]"),
}

with workload() as check:
    steps = KINDS[sys.argv[2]](check)
    next(steps)
    check.wait()
    next(steps, None)
