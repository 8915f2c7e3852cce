"""io_uring(7): rings that have nothing to do, with the files and buffers registered with them.

What the kernel does not show of a ring does not change what a program gets from it: restored rings take whatever
is in the submission queue (IORING_SETUP_SUBMIT_ALL), at once (no SINGLE_ISSUER, DEFER_TASKRUN, IOPOLL).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cr.contract.resource import FdResource
from cr.contract.vma import VmaResource, unsupported_flags
from cr.kernel import io_uring as kernel
from cr.kernel import mman, proc, vm
from cr.resources.events.anonymous_inode import common
from cr.resources.events.io_uring_build import build, is_ring, settle
from cr.resources.events.io_uring_facts import LINK, Facts, parse
from cr.resources.events.io_uring_passing import carrier
from cr.resources.events.io_uring_probe import holders as ring_holders
from images.kinds import VmaStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from cr.contract.dumping import DumpContext, DumpTask, OpenFile
    from cr.contract.restoring import RestoreContext, RestoreTask
    from cr.kernel.proc import Mapping
    from cr.remote.program import Program
    from images import messages as m

_PATIENCE = 0.2  # seconds that requests which need nothing but a disk have to finish, while the tasks stand still


class IoUring(FdResource):
    """woodfrog-io-uring.img; in files.img it is something that other engines leave to a plug-in."""

    type = 16
    field = "ext"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == LINK

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        facts = parse(file.info_text)
        for reason in facts.obstacles() if facts else ():
            yield f"{file} {reason}"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.ext_file_entry:
        from images import messages as m

        context.files.later(lambda: _describe(file, context))
        return m.ext_file_entry(id=file.id, fown=common(file)["fown"])

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        context.images.write("woodfrog-io-uring", entries=rings_of(context))

    @classmethod
    def has(cls, file_id: int, context: RestoreContext) -> bool:
        return is_ring(file_id, context)

    @classmethod
    def make(cls, entry: m.ext_file_entry, context: RestoreContext) -> int:
        return build(entry, context)

    @classmethod
    def passed(cls, entry: m.ext_file_entry, made: int, context: RestoreContext) -> int:
        return carrier(made, context)

    @classmethod
    def placed(
        cls, entry: m.ext_file_entry, program: Program, fd: int, task: RestoreTask, context: RestoreContext
    ) -> None:
        settle(entry, program, fd, task, context)


def rings_of(context: DumpContext) -> list[m.woodfrog_io_uring_entry]:
    return context.once("rings of io_uring", list)


def _describe(file: OpenFile, context: DumpContext) -> None:
    """Everything about a ring, once all descriptor tables are known."""
    holders = context.files.holders(file.stat.st_dev, file.stat.st_ino)
    for task, fd, _ in holders:
        ring_holders(context).setdefault(task.pid, []).append(fd)
    owner, fd = next(((task, fd) for task, fd, _ in holders if _maps(task, file)), (holders[0][0], holders[0][1]))
    facts = _settled(owner.pid, fd, {task.tgid for task, _, _ in holders})
    if facts is None:
        context.refuse(f"{file} is in use by the kernel: try again")
        return
    reasons = [*facts.obstacles(), *facts.unfinished(), *_at_work(task.tgid for task, _, _ in holders)]
    for reason in reasons:
        context.refuse(f"{file} {reason}")
    if not reasons:
        rings_of(context).append(_entry(file, facts, owner, context))
    file.close()


def _maps(task: DumpTask, file: OpenFile) -> bool:
    return any(mapping.path == LINK and mapping.inode == file.stat.st_ino for mapping in task.mappings)


def _settled(pid: int, fd: int, users: set[int]) -> Facts | None:
    """What /proc tells of a ring once the kernel has finished what it can finish now; None where it tells nothing."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        facts = parse(proc.fdinfo(pid, fd))
        if facts is not None and (facts.polls or not (facts.waiting or any(_at_work(users)))):
            return facts
        if time.monotonic() > deadline:
            return facts
        time.sleep(0.001)


def _at_work(pids: Iterable[int]) -> Iterator[str]:
    """Workers of the kernel that do not just wait for work, as they do for some seconds before they end."""
    for pid in pids:
        for tid in proc.threads(pid)[1:]:
            place = f"{pid}/task/{tid}"
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if proc.is_worker(pid, tid) and (where := proc.read_text(place, "wchan")) != "io_wq_worker":
                    yield f"is an io_uring for which a thread of the kernel is at work (in {where}): let it finish"


def _entry(file: OpenFile, facts: Facts, owner: DumpTask, context: DumpContext) -> m.woodfrog_io_uring_entry:
    from images import messages as m

    fd, layout = kernel.setup(facts.sq_entries, facts.cq_entries, _setup(owner, file, facts))
    os.close(fd)
    entry = m.woodfrog_io_uring_entry(
        id=file.id, flags=common(file)["flags"], sq_entries=facts.sq_entries, cq_entries=facts.cq_entries,
        setup=layout.setup, array_offset=layout.array, submitted=facts.submitted, completed=facts.completed,
        files=facts.files_room, buffers=facts.buffers_room, owner=owner.vpid,
    )  # fmt: skip
    entry.rings, entry.requests = _content(file.local, layout)
    for index, (address, length) in facts.buffers.items():
        entry.buffer.add(index=index, address=address, length=length)
    for index, path in facts.files.items():
        fds = _descriptors(owner, path, context)
        if len({context.files.find(owner, fd) for fd in fds}) != 1:
            context.refuse(
                f"{file} is an io_uring that has {path} registered, which is not clearly one of the descriptors of "
                f"{owner}: let the program unregister it"
            )
            return entry
        entry.file.add(index=index, fd=fds[0])
    return entry


def _setup(owner: DumpTask, file: OpenFile, facts: Facts) -> int:
    """Whether entries are of double size shows in the size of the mappings, unless all fits into one page."""
    sizes = {m.offset: m.end - m.start for m in owner.mappings if m.path == LINK and m.inode == file.stat.st_ino}
    fd, layout = kernel.setup(facts.sq_entries, facts.cq_entries, 0)
    os.close(fd)
    wide = sizes.get(kernel.REQUESTS_OFFSET, 0) > _pages(64 * facts.sq_entries)
    wide_completions = sizes.get(0, 0) > _pages(layout.array + 4 * facts.sq_entries)
    return (kernel.SETUP_SQE128 if wide else 0) | (kernel.SETUP_CQE32 if wide_completions else 0)


def _pages(size: int) -> int:
    return -(-size // vm.PAGE_SIZE) * vm.PAGE_SIZE


def _content(fd: int, layout: kernel.Layout) -> tuple[bytes, bytes]:
    """The rings, with the array of submissions where there is one (IORING_SETUP_NO_SQARRAY), and the requests."""
    rings = kernel.Memory(fd, layout.array + 4 * layout.sq_entries, 0)
    requests = kernel.Memory(fd, layout.request_size * layout.sq_entries, kernel.REQUESTS_OFFSET)
    content = rings.read(0, layout.end_of_completions)
    with contextlib.suppress(OSError):  # it would be on a page that the ring does not have
        content = rings.read(0, layout.array + 4 * layout.sq_entries)
    return content, requests.read(0, layout.request_size * layout.sq_entries)


def _descriptors(task: DumpTask, path: str, context: DumpContext) -> list[int]:
    """Where a registered file is open; the ends of a pipe look alike."""
    if path.startswith("pipe:["):
        return []
    found = []
    for name in os.listdir(f"/proc/{task.pid}/fd"):
        if os.readlink(f"/proc/{task.pid}/fd/{name}") == path and context.files.find(task, int(name)):
            found.append(int(name))
    return sorted(found)


class IoUringMapping(VmaResource):
    """The memory that a ring shares with its program.  The kernel alone chooses where: see cr.restore.io_uring."""

    status = VmaStatus.FILE_SHARED | VmaStatus.EXT_PLUGIN
    private_pages = False
    recreated = False
    own_way = True
    inherited = False

    @classmethod
    def recognises(cls, mapping: Mapping) -> bool:
        return mapping.path == LINK and mapping.shared

    @classmethod
    def obstacles(cls, mapping: Mapping, task: DumpTask) -> Iterable[str]:
        yield from unsupported_flags(mapping)
        if not any(os.readlink(f"/proc/{task.pid}/fd/{fd}") == LINK for fd in os.listdir(f"/proc/{task.pid}/fd")):
            yield "is a ring of io_uring(7) whose descriptor is closed"

    @classmethod
    def dump(cls, mapping: Mapping, entry: m.vma_entry, task: DumpTask, context: DumpContext) -> None:
        device = os.makedev(*(int(word, 16) for word in mapping.device.split(":")))
        holders = context.files.holders(device, mapping.inode)
        entry.shmid = next((file_id for _, _, file_id in holders), 0)
        if not entry.shmid:
            context.refuse(f"{mapping} of {task} is a ring of io_uring(7) whose descriptor is closed")

    @classmethod
    def attach(
        cls, room: Callable[[], Program], entries: list[m.vma_entry], task: RestoreTask, context: RestoreContext
    ) -> None:
        flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED | mman.MAP_NORESERVE
        for entry in entries:
            room().call("mmap", entry.start, entry.end - entry.start, 0, flags, -1, 0, note="room for a ring")
