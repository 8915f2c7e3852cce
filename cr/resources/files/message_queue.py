"""Descriptors of POSIX message queues: mq_open(3).  The queues are their ipc namespace's affair."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.owner import restore_owner
from cr.contract.resource import FdResource
from cr.kernel import files, mqueue, proc
from cr.model import BadImages
from cr.resources.events.anonymous_inode import common
from cr.resources.files.file_name import DELETED
from cr.resources.namespaces.posix_queues import Held, dumped, held, made, notification

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_IMAGE = "woodfrog-mqueue-files"


def is_message_queue(file: OpenFile) -> bool:
    """A file of a mqueue filesystem: what mq_open(3) gives is in a mount that nobody sees."""
    if not stat.S_ISREG(file.stat.st_mode) or os.major(file.stat.st_dev) or file.flags & os.O_PATH:
        return False
    return files.filesystem(file.local)[0] == mqueue.MAGIC


class MessageQueueFile(FdResource):
    """woodfrog-mqueue-files.img; in files.img it is something that other engines leave to a plug-in."""

    type = 16
    field = "ext"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link.startswith("/") and is_message_queue(file)

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        if proc.namespace_inode(file.task.pid, "ipc") == proc.namespace_inode("self", "ipc"):
            yield (
                f"{file} is a POSIX message queue of the host's own ipc namespace: run the tasks in an ipc "
                "namespace of theirs"
            )
            return
        queue = _opened(file.local)
        try:
            yield from notification(queue, str(file))
        finally:
            os.close(queue)

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.ext_file_entry:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        key = file.stat.st_dev, file.stat.st_ino
        if key not in held(context):
            local = os.dup(file.local)
            context.at_end.append(lambda: os.close(local))
            held(context)[key] = Held(file.task.pid, file.fd, local, _name(file), str(file))
        flags = common(file)["flags"]
        _records(context).append(m.woodfrog_message_queue_file(id=file.id, device=key[0], inode=key[1], flags=flags))
        return m.ext_file_entry(id=file.id, fown=common(file)["fown"])

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        for key, found in held(context).items():
            if key not in dumped(context) and not context.obstacles:
                context.refuse(
                    f"{found.what} is a POSIX message queue of an ipc namespace that no task of the tree is in: "
                    "close it"
                )
        context.images.write(_IMAGE, entries=_records(context))

    @classmethod
    def has(cls, file_id: int, context: RestoreContext) -> bool:
        return has_queue(file_id, context)

    @classmethod
    def make(cls, entry: m.ext_file_entry, context: RestoreContext) -> int:
        record = _files(context)[entry.id]
        queue = made(context).get((record.device, record.inode))
        if queue is None:
            raise BadImages(f"{_IMAGE}.img has a message queue that is not in the images")
        fd = _opened(queue, record.flags & (os.O_ACCMODE | os.O_NONBLOCK))
        restore_owner(fd, entry.fown, context)
        return fd


def _name(file: OpenFile) -> str:
    return file.link.removesuffix(DELETED).rpartition("/")[2]


def _opened(fd: int, flags: int = os.O_RDWR | os.O_NONBLOCK) -> int:
    """The queue behind a descriptor of ours once more."""
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)


def _records(context: DumpContext) -> list[m.woodfrog_message_queue_file]:
    return context.once("message queue files", list)


def _files(context: RestoreContext) -> dict[int, m.woodfrog_message_queue_file]:
    def read() -> dict[int, m.woodfrog_message_queue_file]:
        found = context.images.read(_IMAGE) if context.images.exists(_IMAGE) else []
        return {entry.id: entry for entry in found}

    return context.once("message queue files", read)


def has_queue(file_id: int, context: RestoreContext) -> bool:
    """Whether this file of the images is a message queue."""
    return file_id in _files(context)
