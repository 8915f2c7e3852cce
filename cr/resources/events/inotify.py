"""inotify(7): watches on files and directories."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import FdResource
from cr.kernel.events import inotify_add_watch, inotify_init, inotify_set_next_watch, pending
from cr.model import CheckpointError
from cr.resources.events.anonymous_inode import common, finish
from cr.resources.events.inotify_overflow import announce
from cr.resources.files.file_handle import find_path, handle_entry, open_handle
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m


def watch_lines(info: str, kind: str) -> list[dict[str, str]]:
    """The lines of an fdinfo that begin with `kind`, each as its `name:value` fields."""
    lines = [line.split() for line in info.splitlines()]
    return [dict(word.split(":", 1) for word in words[1:]) for words in lines if words[:1] == [kind]]


class Inotify(FdResource):
    """Its watches keep their numbers.  Events that nobody has read yet are lost, and the reader is told so."""

    type = 8
    field = "ify"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == "anon_inode:inotify"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.inotify_file_entry:
        from images import messages as m

        entry = m.inotify_file_entry(**common(file))
        for fields in watch_lines(file.info_text, "inotify"):
            _describe(fields, file, entry, context)
        if pending(file.local):
            log.warning(f"{file} has events that nobody has read: they are lost")
            context.files.extra(file.id).events_lost = True
        return entry

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        refuse_lost(context)

    @classmethod
    def make(cls, entry: m.inotify_file_entry, context: RestoreContext) -> int:
        fd, extra = inotify_init(0), context.extra(entry.id)
        if extra is not None and extra.events_lost:
            announce(fd)
        context.at_end.append(lambda: _watch_all(fd, entry, context))
        return finish(fd, entry, context)


@dataclass(frozen=True)
class _Lost:
    """A watch on something without a path: fine if it is open somewhere in the tree, and so in the images."""

    file: OpenFile
    device: int
    inode: int


def note_lost(file: OpenFile, device: int, inode: int, context: DumpContext) -> None:
    """Look again when all descriptors are known."""
    context.once("watches without a path", list[_Lost]).append(_Lost(file, device, inode))


def refuse_lost(context: DumpContext) -> None:
    for lost in context.once("watches without a path", list[_Lost]):
        device = os.makedev(lost.device >> 20, lost.device & 0xFFFFF)
        if not context.files.holders(device, lost.inode):
            context.refuse(f"{lost.file} watches inode {lost.inode}, whose path cannot be found: remove that watch")


def _describe(fields: dict[str, str], file: OpenFile, entry: m.inotify_file_entry, context: DumpContext) -> None:
    inode, device = int(fields["ino"], 16), int(fields["sdev"], 16)
    watch = entry.wd.add(
        id=0,
        i_ino=inode,
        mask=int(fields["mask"], 16),
        ignored_mask=int(fields["ignored_mask"], 16),
        s_dev=device,
        wd=int(fields["wd"], 16),
        f_handle=handle_entry(fields),
    )
    if not find_path(watch.f_handle, device, inode, file, context):
        note_lost(file, device, inode, context)


def _watch_all(fd: int, entry: m.inotify_file_entry, context: RestoreContext) -> None:
    """Only now: what the restore itself did to the files was not for the watchers."""
    for watch in sorted(entry.wd, key=lambda watch: watch.wd):
        try:
            target = open_handle(watch.f_handle, watch.s_dev, watch.i_ino, context)
        except OSError as error:
            what = watch.f_handle.path or f"inode {watch.i_ino}"
            raise CheckpointError(
                f"{what}, which a task watches with inotify, is not there: {error.strerror}"
            ) from error
        try:
            inotify_set_next_watch(fd, watch.wd)
            inotify_add_watch(fd, f"/proc/self/fd/{target}", watch.mask)
        finally:
            os.close(target)
