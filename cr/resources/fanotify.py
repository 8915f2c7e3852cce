"""fanotify(7): a group with marks on files and mounts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import FdResource
from cr.kernel.events import fanotify_init, fanotify_mark, pending
from cr.kernel.mountinfo import mountinfo
from cr.model import CheckpointError
from cr.resources.anonymous_inode import common, finish
from cr.resources.file_handle import find_path, handle_entry, open_handle
from cr.resources.inotify import note_lost, refuse_lost, watch_lines

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

FAN_MARK_ADD, FAN_MARK_MOUNT, FAN_MARK_IGNORED_MASK = 0x1, 0x10, 0x20
INODE, MOUNT = 1, 2
"""mark_type"""


class Fanotify(FdResource):
    """Its marks come back; events that nobody has read yet are lost, as with inotify."""

    type = 12
    field = "ffy"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == "anon_inode:[fanotify]"

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        for fields in watch_lines(file.info_text, "fanotify"):
            if "sdev" in fields and "ino" not in fields:
                yield f"{file} has a mark on a whole filesystem, for which the images have no room: remove it"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.fanotify_file_entry:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        head, *marks = watch_lines(file.info_text, "fanotify")
        entry = m.fanotify_file_entry(
            faflags=int(head["flags"], 16), evflags=int(head["event-flags"], 16), **common(file)
        )
        for fields in marks:
            _describe(fields, file, entry, context)
        if pending(file.local):
            log.warning(f"{file} has events that nobody has read: they are lost")
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        refuse_lost(context)

    @classmethod
    def make(cls, entry: m.fanotify_file_entry, context: RestoreContext) -> int:
        fd = fanotify_init(entry.faflags, entry.evflags)
        os.set_inheritable(fd, False)
        context.at_end.append(lambda: _mark_all(fd, entry, context))
        return finish(fd, entry, context)


def _describe(fields: dict[str, str], file: OpenFile, entry: m.fanotify_file_entry, context: DumpContext) -> None:
    if "mnt_id" not in fields and "ino" not in fields:
        return  # a mark on a filesystem: refused already
    mark = entry.mark.add(
        id=0,
        type="MOUNT" if "mnt_id" in fields else "INODE",
        mflags=int(fields["mflags"], 16),
        mask=int(fields["mask"], 16),
        ignored_mask=int(fields["ignored_mask"], 16),
        s_dev=int(fields.get("sdev", "0"), 16),
    )
    if "mnt_id" in fields:
        _describe_mount(int(fields["mnt_id"], 16), mark, file, context)
        return
    mark.ie.i_ino = int(fields["ino"], 16)
    mark.ie.f_handle.CopyFrom(handle_entry(fields))
    if not find_path(mark.ie.f_handle, mark.s_dev, mark.ie.i_ino, file, context):
        note_lost(file, mark.s_dev, mark.ie.i_ino, context)


def _describe_mount(mnt_id: int, mark: m.fanotify_mark_entry, file: OpenFile, context: DumpContext) -> None:
    mark.me.mnt_id = mnt_id
    found = [mount for mount in mountinfo(file.task.pid) if mount.id == mnt_id]
    if not found:
        context.refuse(f"{file} has a mark on mount {mnt_id}, which its task does not see: remove it")
        return
    mark.me.path, mark.s_dev = found[0].mountpoint, found[0].device


def _mark_all(fd: int, entry: m.fanotify_file_entry, context: RestoreContext) -> None:
    """Only now: what the restore itself did to the files was not for the watchers."""
    for mark in entry.mark:
        try:
            target = _target(mark, context)
        except OSError as error:
            raise CheckpointError(f"what a task watches with fanotify is not there: {error.strerror}") from error
        try:
            _mark(fd, mark, f"/proc/self/fd/{target}")
        finally:
            os.close(target)


def _target(mark: m.fanotify_mark_entry, context: RestoreContext) -> int:
    if mark.type == MOUNT:
        return context.open(mark.me.path, os.O_PATH)
    return open_handle(mark.ie.f_handle, mark.s_dev, mark.ie.i_ino, context)


def _mark(fd: int, mark: m.fanotify_mark_entry, path: str) -> None:
    flags = FAN_MARK_ADD | mark.mflags | (FAN_MARK_MOUNT if mark.type == MOUNT else 0)
    if mark.mask:
        fanotify_mark(fd, flags, mark.mask, path)
    if mark.ignored_mask:
        fanotify_mark(fd, flags | FAN_MARK_IGNORED_MASK, mark.ignored_mask, path)
