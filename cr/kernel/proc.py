"""/proc/PID as values (proc(5), Documentation/filesystems/proc.rst)."""

from __future__ import annotations

import os
from functools import lru_cache

from cr.kernel.namespaces import unless_ended
from cr.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def read_text(pid: int | str, name: str) -> str:
    """/proc/PID/NAME; bytes that are no UTF-8 come back as surrogates (os.fsencode undoes it)."""
    return os.fsdecode(read_bytes(pid, name))


def read_bytes(pid: int | str, name: str) -> bytes:
    fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, 1 << 16):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


_PF_IO_WORKER = 0x10
_SHORT = 1024  # bytes that surely fit into the kernel's first buffer


def status(pid: int | str) -> dict[str, str]:
    """The fields of /proc/PID/status, values stripped."""
    fields = (line.partition(":") for line in read_text(pid, "status").splitlines())
    return {name: value.strip() for name, _, value in fields}


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that we use; addresses are 0 without ptrace rights."""

    comm: str
    state: str
    ppid: int
    pgid: int
    sid: int
    tty_nr: int
    tty_pgrp: int
    flags: int
    nice: int
    start_time: int
    start_code: int
    end_code: int
    start_stack: int
    exit_signal: int
    rt_priority: int
    policy: int
    start_data: int
    end_data: int
    start_brk: int
    arg_start: int
    arg_end: int
    env_start: int
    env_end: int
    exit_code: int

    @property
    def terminal(self) -> int:
        """Device number of the controlling terminal, 0 for none; proc(5) packs it as the old dev_t does."""
        number = self.tty_nr & 0xFFFFFFFF
        return os.makedev(number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00)

    @property
    def is_kernel_thread(self) -> bool:
        return bool(self.flags & 0x00200000)  # PF_KTHREAD

    @property
    def is_ending(self) -> bool:
        """Whether it is on its way out, or a zombie: it gives up its namespaces long before it is gone."""
        return bool(self.flags & 0x4)  # PF_EXITING


def stat(pid: int | str) -> Stat:
    text = read_text(pid, "stat")
    comm_start, comm_end = text.index("("), text.rindex(")")
    rest = text[comm_end + 2 :].split()
    n = [0, 0, 0, *(int(word) for word in rest[1:])]  # n[i] is field i + 1 of proc(5)
    return Stat(
        comm=text[comm_start + 1 : comm_end], state=rest[0], ppid=n[3], pgid=n[4], sid=n[5], tty_nr=n[6],
        tty_pgrp=n[7], flags=n[8], nice=n[18], start_time=n[21], start_code=n[25], end_code=n[26],
        start_stack=n[27], exit_signal=n[37], rt_priority=n[39], policy=n[40], start_data=n[44], end_data=n[45],
        start_brk=n[46],
        arg_start=n[47], arg_end=n[48], env_start=n[49], env_end=n[50], exit_code=n[51],
    )  # fmt: skip


def threads(pid: int) -> list[int]:
    """All that /proc shows, the kernel's own workers too: see `is_worker`."""
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))


def is_worker(pid: int, tid: int) -> bool:
    """Whether a thread never runs the program: the kernel has made it to do work of io_uring(7) (PF_IO_WORKER).

    Such a thread can be seized, and even stops, but no system call can be made in it.
    """
    try:
        return bool(stat(f"{pid}/task/{tid}").flags & _PF_IO_WORKER)
    except (FileNotFoundError, ProcessLookupError):
        return False


def living_thread(pid: int) -> int:
    """The process itself, or another thread of it where its main one has exited while others live."""
    if stat(pid).state != "Z":
        return pid
    return next((tid for tid in threads(pid) if tid != pid), pid)


def children(pid: int) -> list[int]:
    """Children of all threads of a process; a thread that ends meanwhile leaves its own to another."""
    found: list[int] = []
    for tid in threads(pid):
        try:
            found += map(int, read_text(pid, f"task/{tid}/children").split())
        except (FileNotFoundError, ProcessLookupError):
            if tid == pid:
                raise
    return found


def descendants(root: int) -> Iterator[int]:
    """A process and all below it as they are now, parents first, zombies too."""
    waiting = [root]
    for pid in waiting:
        try:
            waiting += children(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        yield pid


def ns_ids(fields: dict[str, str], name: str) -> list[int]:
    """NSpid, NStgid, NSpgid or NSsid of a status: one id a pid namespace, ours first, innermost last."""
    ids = [int(word) for word in fields[name].split()]
    if not ids:
        raise ProcessLookupError(3, f"task {fields.get('Name', '')} is ending and has no {name} any more")
    return ids


def read_file(path: str) -> str:
    """The text of a file of the kernel's."""
    with open(path) as file:
        return file.read()


def write_file(path: str, text: str) -> None:
    """Write to a file of the kernel's, with one write(2)."""
    with open(path, "w") as file:
        file.write(text)


def fdinfo(pid: int, fd: int) -> str:
    """The text of /proc/PID/fdinfo/FD; one that is short comes with a single read(2)."""
    path = os.open(f"/proc/{pid}/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(path, 1 << 16)
        while len(text) >= _SHORT and (more := os.read(path, 1 << 16)):
            text += more
        return os.fsdecode(text)
    finally:
        os.close(path)


def namespace_inode(pid: int | str, name: str) -> int:
    """Inode of /proc/PID/ns/NAME, which names the namespace."""
    with unless_ended(pid):
        return os.stat(f"/proc/{pid}/ns/{name}").st_ino


@dataclass(frozen=True)
class Mapping:
    """One line of /proc/PID/maps with its VmFlags, page size and protection key from smaps."""

    start: int
    end: int
    perms: str
    offset: int
    device: str
    inode: int
    path: str
    flags: frozenset[str]
    page_size: int = 4096
    protection_key: int = 0
    copied_on_write: bool = False
    """whether pages of it are still shared with a relative: a private mapping that fork(2) has copied"""

    @property
    def shared(self) -> bool:
        return self.perms[3] == "s"

    def __hash__(self) -> int:
        return hash((self.start, self.end, self.path, self.flags))

    def __str__(self) -> str:
        return f"the mapping {self.start:#x}-{self.end:#x} {self.perms} {self.path or '(anonymous)'}"


def mappings(pid: int) -> list[Mapping]:
    """The mappings of a process in ascending order, each with its VmFlags."""
    return parse_smaps(read_text(pid, "smaps"))


def plain_mappings(pid: int) -> list[Mapping]:
    """The same without flags, page sizes and keys: the kernel need not look at every page for it."""
    return [_mapping(line + "\n", frozenset()) for line in read_text(pid, "maps").splitlines()]


def parse_smaps(text: str) -> list[Mapping]:
    """The mappings that a text of /proc/PID/smaps tells of."""
    found: list[Mapping] = []
    head, *rest = text.split("\nVmFlags:")
    for part in rest:
        flags, _, following = part.partition("\n")
        found.append(_mapping(head, _flags(flags)))
        head = following
    return found


def _mapping(paragraph: str, flags: frozenset[str]) -> Mapping:
    page_size = _number(paragraph, "KernelPageSize:") * 1024 if "ht" in flags else 4096
    key, shared = _number(paragraph, "ProtectionKey:"), _number(paragraph, "\nShared_Dirty:") > 0
    return _mapping_of(paragraph[: paragraph.find("\n")], flags, page_size, key, shared)


@lru_cache(maxsize=1 << 14)
def _mapping_of(line: str, flags: frozenset[str], page_size: int, key: int, shared: bool) -> Mapping:
    parts = line.split(maxsplit=5)
    span, perms, offset, device, inode = parts[:5]
    start, _, end = span.partition("-")
    path = parts[5] if len(parts) > 5 else ""
    where = int(start, 16), int(end, 16), perms, int(offset, 16), device, int(inode), path
    return Mapping(*where, flags, page_size, key, shared and perms[3] == "p")


@lru_cache(maxsize=256)
def _flags(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _number(paragraph: str, name: str) -> int:
    """The number of a line of smaps, 0 where there is none."""
    found = paragraph.find(name)
    return int(paragraph[found + len(name) :].split(maxsplit=1)[0]) if found >= 0 else 0
