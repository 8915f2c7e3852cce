"""eventfd(2): a counter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.resource import FdResource
from cr.resources.events.anonymous_inode import common, finish

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m


class EventFd(FdResource):
    """The counter, and whether reads take one from it (EFD_SEMAPHORE) or all."""

    type = 6
    field = "efd"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == "anon_inode:[eventfd]"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.eventfd_file_entry:
        from images import messages as m

        if file.info.get("eventfd-semaphore") == "1":
            context.files.extra(file.id).semaphore = True
        return m.eventfd_file_entry(counter=int(file.info["eventfd-count"], 16), **common(file))

    @classmethod
    def make(cls, entry: m.eventfd_file_entry, context: RestoreContext) -> int:
        extra = context.extra(entry.id)
        semaphore = os.EFD_SEMAPHORE if extra is not None and extra.semaphore else 0
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | semaphore)
        if entry.counter:
            os.eventfd_write(fd, entry.counter)
        return finish(fd, entry, context)
