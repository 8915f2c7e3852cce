"""pipe(2): two ends that share one buffer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.outside_files import inherited, take
from cr.contract.owner import dump_owner, restore_owner
from cr.contract.resource import FdResource
from cr.kernel import files
from cr.resources.files.pipe_content import dump_content, fill, write_contents
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

IMAGE = "pipes-data"


class Pipe(FdResource):
    """An end of a pipe; ends with the same pipe_id (the inode's number) belong together."""

    type = 2
    field = "pipe"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link.startswith("pipe:[")

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        if file.flags & files.O_PATH:
            yield f"{file} is a pipe opened with O_PATH, which cannot be dumped: close it"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.pipe_entry | None:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
            return None
        dump_content(IMAGE, file.stat.st_ino, file, context)
        flags = file.flags & ~os.O_CLOEXEC
        return m.pipe_entry(id=file.id, pipe_id=file.stat.st_ino, flags=flags, fown=dump_owner(file))

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        write_contents(IMAGE, context)

    @classmethod
    def describe(cls, entry: m.pipe_entry) -> str:
        end = ("read", "write", "both")[files.access_mode(entry.flags)]
        return f"file {entry.id:#x}: pipe {entry.pipe_id:#x}, {end} end"

    @classmethod
    def make(cls, entry: m.pipe_entry, context: RestoreContext) -> int:
        given = inherited(f"pipe:[{entry.pipe_id}]", context)
        if given is not None:
            return take(given, entry.flags, context)
        ends = context.once(("pipe", entry.pipe_id), lambda: _make_pipe(entry.pipe_id, context))
        fd = _take_end(ends, entry.flags)
        files.set_status_flags(fd, entry.flags)
        restore_owner(fd, entry.fown, context)
        return fd


@dataclass
class _Ends:
    """A new pipe: our descriptors of its two ends by access mode, and those that a task has."""

    by_mode: dict[int, int]
    taken: set[int] = field(default_factory=set)


def _make_pipe(pipe_id: int, context: RestoreContext) -> _Ends:
    """The pipe with its content."""
    packets = next(filter(None, (_packets(e, context) for e in _entries(pipe_id, context))), [])
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC | (os.O_DIRECT if packets else 0))
    ends = _Ends({os.O_RDONLY: context.keep(read_end), os.O_WRONLY: context.keep(write_end)})

    def close_spares() -> None:
        for fd in set(ends.by_mode.values()) - ends.taken:
            context.drop(fd)

    context.at_end.append(close_spares)  # before the tasks run: the other side is to notice that nobody has this one
    fill(IMAGE, pipe_id, write_end, packets, context)
    return ends


def write_end(pipe_id: int, context: RestoreContext) -> int:
    """Our descriptor of the end into which somebody else than a task writes."""
    ends: _Ends = context.once(("pipe", pipe_id), lambda: _make_pipe(pipe_id, context))
    return ends.by_mode[os.O_WRONLY]


def _entries(pipe_id: int, context: RestoreContext) -> list[m.pipe_entry]:
    found = (entry.pipe for entry in context.file_entries.values() if entry.type == Pipe.type)
    return [entry for entry in found if entry.pipe_id == pipe_id]


def _packets(entry: m.pipe_entry, context: RestoreContext) -> list[int]:
    extra = context.extra(entry.id)
    return list(extra.packet) if extra else []


def _take_end(ends: _Ends, flags: int) -> int:
    """The end itself for the first who wants it, another description of it for others."""
    mode = files.access_mode(flags)
    fd = ends.by_mode.get(mode)
    if fd is not None and fd not in ends.taken:
        ends.taken.add(fd)
        return fd
    return files.reopen(next(iter(ends.by_mode.values())), mode | os.O_NONBLOCK)
