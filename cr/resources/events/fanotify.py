"""fanotify(7): a group with marks on files and mounts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import FdResource
from cr.kernel.events import fanotify_init, fanotify_mark, pending
from cr.kernel.mountinfo import mountinfo
from cr.model import CheckpointError
from cr.resources.events.anonymous_inode import common, finish
from cr.resources.events.inotify import note_lost, refuse_lost, watch_lines
from cr.resources.files.file_handle import find_path, handle_entry, open_handle

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

FAN_MARK_ADD, FAN_MARK_MOUNT, FAN_MARK_IGNORED_MASK, FAN_MARK_FILESYSTEM = 0x1, 0x10, 0x20, 0x100
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
    def dump(cls, file: OpenFile, context: DumpContext) -> m.fanotify_file_entry:
        from images import messages as m

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
        _describe_filesystem(fields, file, context)
        return
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


def _describe_filesystem(fields: dict[str, str], file: OpenFile, context: DumpContext) -> None:
    """The format knows no such marks: by any mount of the filesystem that the task sees."""
    device = int(fields["sdev"], 16)
    found = [mount.mountpoint for mount in mountinfo(file.task.pid) if mount.device == device]
    if not found:
        context.refuse(f"{file} has a mark on a filesystem that its task does not see mounted: remove it")
        return
    context.files.extra(file.id).filesystem.add(
        path=os.fsencode(min(found, key=len)),
        flags=int(fields["mflags"], 16),
        mask=int(fields["mask"], 16),
        ignored_mask=int(fields["ignored_mask"], 16),
    )


def _mark_all(fd: int, entry: m.fanotify_file_entry, context: RestoreContext) -> None:
    """Only now: what the restore itself did to the files was not for the watchers."""
    for mark in entry.mark:
        try:
            target = _target(mark, context)
        except OSError as error:
            raise CheckpointError(f"what a task watches with fanotify is not there: {error.strerror}") from error
        kind = FAN_MARK_MOUNT if mark.type == MOUNT else 0
        _mark(fd, mark.mflags | kind, mark.mask, mark.ignored_mask, target)
    extra = context.extra(entry.id)
    for place in extra.filesystem if extra is not None else ():
        try:
            target = context.open(place.path, os.O_PATH)
        except OSError as error:
            raise CheckpointError(f"a filesystem that a task watches is not there: {error.strerror}") from error
        _mark(fd, place.flags | FAN_MARK_FILESYSTEM, place.mask, place.ignored_mask, target)


def _target(mark: m.fanotify_mark_entry, context: RestoreContext) -> int:
    if mark.type == MOUNT:
        return context.open(mark.me.path, os.O_PATH)
    return open_handle(mark.ie.f_handle, mark.s_dev, mark.ie.i_ino, context)


def _mark(fd: int, flags: int, mask: int, ignored: int, target: int) -> None:
    """Mark what `target` is a descriptor of, and close that."""
    path = f"/proc/self/fd/{target}"
    try:
        if mask:
            fanotify_mark(fd, FAN_MARK_ADD | flags, mask, path)
        if ignored:
            fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | flags, ignored, path)
    finally:
        os.close(target)
