"""POSIX message queues (mq_overview(7)) of an ipc namespace, those too that are unlinked and still open."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cr.contract import idmaps
from cr.kernel import mqueue
from cr.kernel.ids import acting_as
from cr.model import CheckpointError
from cr.resources.namespaces.posix_queue_content import Place, copy
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_IMAGE = "woodfrog-mqueue"

Key = tuple[int, int]
"""st_dev and st_ino"""


@dataclass
class Held:
    """A queue that a task has open: the task's pid and descriptor, and our own of the same file.

    `name` is that which it has, or had; `what` says it to the user.
    """

    pid: int
    fd: int
    local: int
    name: str
    what: str


def held(context: DumpContext) -> dict[Key, Held]:
    """The queues that are open in the tree, once all descriptor tables are known."""
    return context.once("open message queues", dict)


def dumped(context: DumpContext) -> set[Key]:
    """The queues that are in the images."""
    return context.once("dumped message queues", set)


def devices(context: DumpContext) -> set[int]:
    """The mqueue filesystems whose queues are in the images, as the kernel numbers devices."""
    return context.once("dumped mqueue filesystems", set)


def notification(fd: int, what: str) -> Iterator[str]:
    """The reason against a queue whose next message somebody is to be told of."""
    if mqueue.state(fd).notifies:
        yield (
            f"{what} is a POSIX message queue with a notification (mq_notify(3)), of which the kernel does not tell "
            "what value it is to carry: let the program take it off"
        )


def dump(ns_id: int, pid: int, context: DumpContext) -> None:
    """All queues of the ipc namespace of task `pid`, where this thread is; the messages are in them afterwards."""
    with mqueue.filesystem() as root:
        if root is None:
            return
        device = os.stat(f"/proc/self/fd/{root}").st_dev
        devices(context).add(os.major(device) << 20 | os.minor(device))
        entries = list(_named(root, pid, context))
        for key, found in held(context).items():
            if key[0] == device and key not in dumped(context):
                queue = os.open(f"/proc/self/fd/{found.local}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                place = Place(found.pid, "", found.fd)
                for entry in _describe(queue, place, found.name, found.what, context):
                    entry.unlinked = True
                    entries.append(entry)
        if entries:
            context.images.write(_IMAGE, ns_id, entries=entries)


def _named(root: int, pid: int, context: DumpContext) -> Iterator[m.woodfrog_message_queue]:
    for name in mqueue.names(root):
        yield from _describe(mqueue.open_in(root, name), Place(pid, name, -1), name, f"/{name}", context)


def _describe(
    queue: int, place: Place, name: str, what: str, context: DumpContext
) -> Iterator[m.woodfrog_message_queue]:
    """The entry, none where it is refused; closes the descriptor."""
    from images import messages as m

    try:
        reasons = list(notification(queue, what))
        for reason in reasons:
            context.refuse(reason)
        if reasons:
            return
        stat, found = os.fstat(queue), mqueue.attributes(queue)
        entry = m.woodfrog_message_queue(
            device=stat.st_dev, inode=stat.st_ino, name=os.fsencode(name),
            mode=stat.st_mode & 0o7777, most=found.most, size=found.size,
            uid=idmaps.uids(context).inside(stat.st_uid), gid=idmaps.gids(context).inside(stat.st_gid),
        )  # fmt: skip
        for priority, content in () if context.obstacles else copy(queue, place):
            entry.message.add(priority=priority, content=content)
        dumped(context).add((stat.st_dev, stat.st_ino))
        yield entry
    finally:
        os.close(queue)


def _entries(ns_id: int, context: RestoreContext) -> list[m.woodfrog_message_queue]:
    return context.images.read(_IMAGE, ns_id) if context.images.exists(_IMAGE, ns_id) else []


def needs(ns_id: int, context: RestoreContext) -> dict[str, int]:
    """The limits that these queues take to be made, by field of ipc_var_entry."""
    found = _entries(ns_id, context)
    return {
        "mq_queues_max": len(found) + 1,
        "mq_msg_max": max((entry.most for entry in found), default=0),
        "mq_msgsize_max": max((entry.size for entry in found), default=0),
    }


def made(context: RestoreContext) -> dict[Key, int]:
    """Our descriptors of the queues, by what the images name them by."""
    return context.once("message queues", dict)


def restore(ns_id: int, context: RestoreContext) -> None:
    """In this thread's ipc namespace; the limits are those of `needs` at least."""
    entries = _entries(ns_id, context)
    with _all_room() if entries else _nothing():
        for entry in sorted(entries, key=lambda entry: not entry.unlinked):  # others may have their names by now
            name = os.fsdecode(entry.name)
            try:
                fd = context.keep(_make(entry, name, context))
                for message in entry.message:
                    mqueue.send(fd, message.content, message.priority)
            except OSError as error:
                way = " (see RLIMIT_MSGQUEUE)" if error.errno == errno.EMFILE else ""
                raise CheckpointError(f"cannot make the POSIX message queue /{name}: {error.strerror}{way}") from error
            made(context)[entry.device, entry.inode] = fd


def _make(entry: m.woodfrog_message_queue, name: str, context: RestoreContext) -> int:
    owner = idmaps.uids(context).outside(entry.uid), idmaps.gids(context).outside(entry.gid)
    with acting_as(*owner):
        fd = mqueue.make(name, 0o600, entry.most, entry.size)
        os.fchmod(fd, entry.mode)
        if entry.unlinked:
            mqueue.unlink(name)
    return fd


@contextmanager
def _all_room() -> Iterator[None]:
    """Queues count for whoever makes them: for us, until they are gone."""
    before = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, before)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
