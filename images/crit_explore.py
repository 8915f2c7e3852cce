"""Tables for people, out of a whole snapshot: tasks, descriptors, mappings, resident pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from images.crit_values import encode_name
from images.directory import ImageDirectory
from images.kinds import VmaStatus
from images.text import get_text

if TYPE_CHECKING:
    from images import messages as m

_PAGE_SHIFT = 12
_GROWS_DOWN = 0x100


class Snapshot:
    """What the tables need of a snapshot, each image read once."""

    def __init__(self, directory: ImageDirectory) -> None:
        self.directory = directory
        self._segments: dict[int, int] = {}

    @cached_property
    def tasks(self) -> list[m.pstree_entry]:
        """Every task, parents first."""
        return self.directory.read("pstree")

    @cached_property
    def files(self) -> dict[int, m.file_entry]:
        """Open files by id."""
        if not self.directory.exists("files"):
            return {}
        return {entry.id: entry for entry in self.directory.read("files")}

    def file_name(self, kind: str, number: int) -> str:
        """One word for an open file: its path where it has one."""
        file = self.files.get(number)
        if kind == "REG":
            return get_text(file.reg, "name") if file and file.HasField("reg") else "unknown path"
        if kind == "PIPE":
            return f"pipe[{file.pipe.pipe_id}]" if file and file.HasField("pipe") else "pipe[?]"
        if kind == "UNIXSK":
            return _socket_name(file.usk) if file and file.HasField("usk") else "unix[?]"
        return f"{kind}.{number}"

    def segment(self, shmid: int) -> int:
        """A short number for a shared segment, in the order of first mention."""
        return self._segments.setdefault(shmid, len(self._segments) + 1)


def _socket_name(socket: m.unix_sk_entry) -> str:
    name = f" {encode_name(socket.name)}" if socket.name else ""
    return f"unix[{socket.ino} ({socket.peer}){name}]"


def tasks(snapshot: Snapshot) -> Iterator[str]:
    """The tree: pid, process group, session, name."""
    yield f"{'PID':>7}{'PGID':>7}{'SID':>7}   COMM"
    children: dict[int, list[m.pstree_entry]] = {}
    known = {task.pid for task in snapshot.tasks}
    for task in snapshot.tasks:
        children.setdefault(task.ppid if task.ppid in known else 0, []).append(task)
    waiting = [(task, 0) for task in reversed(children.get(0, []))]
    while waiting:
        task, depth = waiting.pop()
        core: m.core_entry = snapshot.directory.read_one("core", task.pid)
        yield f"{task.pid:7}{task.pgid:7}{task.sid:7}   {' ' * (4 * depth)}{get_text(core.tc, 'comm')}"
        waiting += [(child, depth + 1) for child in reversed(children.pop(task.pid, []))]


def descriptors(snapshot: Snapshot) -> Iterator[str]:
    """Each task's open files, working directory and root."""
    from images import messages as m

    for task in snapshot.tasks:
        yield f"{task.pid}"
        if not snapshot.directory.exists("ids", task.pid):
            continue  # a zombie has none
        ids: m.task_kobj_ids_entry = snapshot.directory.read_one("ids", task.pid)
        for fd in snapshot.directory.read("fdinfo", ids.files_id):
            yield f"\t{fd.fd:7}: {snapshot.file_name(m.fd_types.Name(fd.type), fd.id)}"
        directories: m.fs_entry = snapshot.directory.read_one("fs", task.pid)
        yield f"\t{'cwd':>7}: {snapshot.file_name('REG', directories.cwd_id)}"
        yield f"\t{'root':>7}: {snapshot.file_name('REG', directories.root_id)}"


def mappings(snapshot: Snapshot) -> Iterator[str]:
    """Each task's executable and mappings; * marks those that are not restored from the snapshot."""
    for task in snapshot.tasks:
        yield f"{task.pid}"
        if not snapshot.directory.exists("mm", task.pid):
            continue  # a zombie has none
        mm: m.mm_entry = snapshot.directory.read_one("mm", task.pid)
        yield f"\t{'exe':<36}    {snapshot.file_name('REG', mm.exe_file_id)}"
        for vma in mm.vmas:
            place = f"{vma.start:08x}-{vma.end:08x}"
            star = "" if vma.status & VmaStatus.REGULAR else " *"
            yield f"\t{place:<36}{_protection(vma.prot)}{_backing(snapshot, vma)}{star}"


def _protection(prot: int) -> str:
    return "".join(letter if prot & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))


_SEGMENTS = {
    VmaStatus.SYSVIPC: "ips",
    VmaStatus.ANON_SHARED: "shmem",
    VmaStatus.SOCKET: "packet",
}
_SPECIAL = {
    VmaStatus.STACK: " [stack]",
    VmaStatus.VSYSCALL: " [vsyscall]",
    VmaStatus.VDSO: " [vdso]",
}


def _backing(snapshot: Snapshot, vma: m.vma_entry) -> str:
    """What a mapping is of, in one word."""
    for bit, word in _SEGMENTS.items():
        if vma.status & bit:
            return f" {word}[{snapshot.segment(vma.shmid):x}]"
    if vma.status & (VmaStatus.FILE_PRIVATE | VmaStatus.FILE_SHARED):
        offset = f" + {vma.pgoff:#x}" if vma.pgoff else ""
        shared = " (s)" if vma.status & VmaStatus.FILE_SHARED else ""
        return f" {snapshot.file_name('REG', vma.shmid)}{offset}{shared}"
    for bit, word in _SPECIAL.items():
        if vma.status & bit:
            return word
    return " [stack?]" if vma.flags & _GROWS_DOWN else ""


def resident(snapshot: Snapshot) -> Iterator[str]:
    """Each run of dumped pages, and beside it the mappings that it lies in; ~ means the one before."""
    for task in snapshot.tasks:
        yield f"{task.pid}"
        if not snapshot.directory.exists("pagemap", task.pid):
            continue  # a zombie has none
        mm: m.mm_entry = snapshot.directory.read_one("mm", task.pid)
        runs = snapshot.directory.read("pagemap", task.pid)[1:]
        shown = -1
        for run in runs:
            end = run.vaddr + (run.nr_pages << _PAGE_SHIFT)
            under = [at for at, vma in enumerate(mm.vmas) if vma.start < end and vma.end > run.vaddr]
            head = f"\t{run.vaddr:x} / {run.nr_pages:<8}"
            rows = [" ~" if at == shown else _extent(snapshot, mm.vmas[at]) for at in under]
            shown = under[-1] if under else shown
            yield f"{head:<24}" + "".join(f"{row}\n\t{'':>23}" for row in rows)


def _extent(snapshot: Snapshot, vma: m.vma_entry) -> str:
    text = f" {vma.start:08x} / {(vma.end - vma.start) >> _PAGE_SHIFT:<8}"
    if vma.status & (VmaStatus.FILE_PRIVATE | VmaStatus.FILE_SHARED):
        text += " " + snapshot.file_name("REG", vma.shmid)
    return text


TABLES: dict[str, Callable[[Snapshot], Iterator[str]]] = {
    "ps": tasks,
    "fds": descriptors,
    "mems": mappings,
    "rss": resident,
}
