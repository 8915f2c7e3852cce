"""epoll(7): which descriptors are watched for what."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.resource import FdResource, fd_resource
from cr.kernel.events import epoll_add, epoll_slot
from cr.kernel.patterns import pattern
from cr.kernel.pidfd import KCMP_EPOLL_TFD, kcmp
from cr.model import BadImages
from cr.resources.events.anonymous_inode import common, finish
from cr.resources.events.epoll_signals import add, adder, is_signalfd
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, OpenFile
    from cr.contract.restoring import RestoreContext, RestoreTask
    from images import messages as m

_WATCH = pattern(
    r"tfd:\s*(\d+) events:\s*([0-9a-f]+) data:\s*([0-9a-f]+)\s+pos:(-?\d+) ino:([0-9a-f]+) sdev:([0-9a-f]+)"
)


@dataclass
class _Watch:
    """One line of fdinfo: `tfd` is the descriptor's number at the time when it was added."""

    tfd: int
    events: int
    data: int
    pos: int
    inode: int
    device: int  # as the kernel numbers it: major << 20 | minor


class Epoll(FdResource):
    """An epoll instance.  What it watches is a file under a number that may be another file's by now."""

    type = 7
    field = "epfd"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == "anon_inode:[eventpoll]"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.eventpoll_file_entry:
        from images import messages as m

        entry = m.eventpoll_file_entry(**common(file))
        watched = context.once("epoll watches", dict[int, tuple["OpenFile", "m.eventpoll_file_entry"]])
        watched[file.id] = (file, entry)
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        """Now that every file of every task is known, find what is watched."""
        watched = context.once("epoll watches", dict[int, tuple["OpenFile", "m.eventpoll_file_entry"]])
        for file, entry in watched.values():
            seen: dict[int, int] = {}
            for watch in parse(file.info_text):
                index = seen.get(watch.tfd, 0)
                seen[watch.tfd] = index + 1
                _describe(watch, index, file, entry, context)

    @classmethod
    def prepare(cls, context: RestoreContext) -> None:
        for record in context.file_entries.values():
            if fd_resource(record, context) is cls:
                _watch_signals(record.epfd, context)

    @classmethod
    def make(cls, entry: m.eventpoll_file_entry, context: RestoreContext) -> int:
        import select

        epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        fd = fcntl.fcntl(epoll.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)
        epoll.close()
        context.at_end.append(lambda: _watch_all(fd, entry, context))
        return finish(fd, entry, context)


def parse(info: str) -> list[_Watch]:
    """The watches in the fdinfo of an epoll instance."""
    bases = (10, 16, 16, 10, 16, 16)
    return [
        _Watch(*(int(text, base) for text, base in zip(found, bases, strict=True))) for found in _WATCH.findall(info)
    ]


def _describe(watch: _Watch, index: int, file: OpenFile, entry: m.eventpoll_file_entry, context: DumpContext) -> None:
    """Add a watch; number `index` of those for the same descriptor number."""
    holder = _find(watch, index, file, context)
    if holder is None:
        context.refuse(
            f"{file} watches descriptor {watch.tfd}, whose file no task of the tree has open any more: "
            "remove that watch, or dump the process that has it as well"
        )
        return
    task, fd, file_id = holder
    number = fd if task.ids["files_id"] == file.task.ids["files_id"] else watch.tfd
    entry.tfd.add(
        id=0,
        tfd=number,
        events=watch.events,
        data=watch.data,
        dev=watch.device,
        inode=watch.inode,
        pos=max(watch.pos, 0),
    )
    context.files.extra(file.id).target.add(tfd=watch.tfd, file_id=file_id)


def _find(watch: _Watch, index: int, file: OpenFile, context: DumpContext) -> tuple[DumpTask, int, int] | None:
    """A descriptor of the watched file: the same number in the same task if that is the one, else any."""
    device = os.makedev(watch.device >> 20, watch.device & 0xFFFFF)
    candidates = context.files.holders(device, watch.inode)
    own = file.task.ids["files_id"]
    candidates.sort(key=lambda found: (found[0].ids["files_id"] != own, found[1] != watch.tfd))
    slot = epoll_slot(file.fd, watch.tfd, index)
    for task, fd, file_id in candidates:
        if file_id and kcmp(task.pid, file.task.pid, KCMP_EPOLL_TFD, fd, slot) == 0:
            return task, fd, file_id
    return None


def _watch_all(epoll: int, entry: m.eventpoll_file_entry, context: RestoreContext) -> None:
    for number, file_id, watch in _targets(entry, context):
        if _adder(entry.id, file_id, context) is None:
            _watch(epoll, number, context.file(file_id), watch)


def _watch_signals(entry: m.eventpoll_file_entry, context: RestoreContext) -> None:
    for number, file_id, watch in _targets(entry, context):
        if (task := _adder(entry.id, file_id, context)) is not None:
            add(context.file(entry.id), number, context.file(file_id), watch, task, context)


def _adder(epoll_id: int, file_id: int, context: RestoreContext) -> RestoreTask | None:
    """The task that has to add the watch itself, if any."""
    return adder(epoll_id, file_id, context) if is_signalfd(file_id, context) else None


def _targets(
    entry: m.eventpoll_file_entry, context: RestoreContext
) -> Iterator[tuple[int, int, m.eventpoll_tfd_entry]]:
    """Of each watch the number that the tasks know, the file, and the record."""
    extra = context.extra(entry.id)
    targets = extra.target if extra is not None else ()
    for index, watch in enumerate(entry.tfd):
        number, file_id = watch.tfd, 0
        if index < len(targets):
            number, file_id = targets[index].tfd, targets[index].file_id
        yield number, file_id or _file_of(entry.id, number, context), watch


def _file_of(epoll_id: int, fd: int, context: RestoreContext) -> int:
    """The file that `fd` is in the first task that has both it and the epoll instance."""
    for task in context.tasks:
        slots = {slot.fd: slot.id for slot in task.fds}
        if epoll_id in slots.values() and fd in slots:
            return slots[fd]
    raise BadImages(f"epoll instance {epoll_id:#x} watches descriptor {fd}, which no task with it has")


def _watch(epoll: int, number: int, file: int, watch: m.eventpoll_tfd_entry) -> None:
    """EPOLL_CTL_ADD under the number that the tasks know, which for a moment is the file's in our process too."""
    epoll = fcntl.fcntl(epoll, fcntl.F_DUPFD_CLOEXEC, number + 1)
    file = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, number + 1)
    try:
        ours = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, number + 1) if _is_open(number) else -1
        inheritable = ours >= 0 and os.get_inheritable(number)
        os.dup2(file, number, inheritable=False)
        try:
            epoll_add(epoll, number, watch.events, watch.data)
        finally:
            if ours >= 0:
                os.dup2(ours, number, inheritable=inheritable)
                os.close(ours)
            else:
                os.close(number)
    finally:
        os.close(epoll)
        os.close(file)


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True
