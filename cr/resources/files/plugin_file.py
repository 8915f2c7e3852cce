"""Open files that a plug-in carries over (ext_file_entry): the engine keeps their numbers and owners only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract import plugins
from cr.contract.owner import dump_owner, restore_owner
from cr.contract.resource import FdResource
from cr.model import CheckpointError
from cr.resources.events.io_uring_build import is_ring
from cr.resources.events.userfaultfd_build import is_userfaultfd
from cr.resources.files.message_queue import has_queue

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m


class PluginFile(FdResource):
    """Claims nothing by itself: it is asked where everything else has an objection."""

    type = 16
    field = "ext"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return False

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.ext_file_entry:
        from images import messages as m

        plugins.dump("file", file, context)
        return m.ext_file_entry(id=file.id, fown=dump_owner(file))

    @classmethod
    def has(cls, file_id: int, context: RestoreContext) -> bool:
        """What no kind of ours has is a plug-in's, should it be there or not."""
        return not any(has(file_id, context) for has in (is_ring, is_userfaultfd, has_queue))

    @classmethod
    def make(cls, entry: m.ext_file_entry, context: RestoreContext) -> int:
        fd = plugins.restore("file", entry.id, context)
        if fd is None:
            raise CheckpointError(
                f"file {entry.id:#x} was saved by a plug-in of another engine: dump it with a plug-in of this one"
            )
        try:
            restore_owner(fd, entry.fown, context)
        except BaseException:
            os.close(fd)
            raise
        return fd


def wanted(file: OpenFile, resource: type[FdResource] | None, context: DumpContext) -> bool:
    """Whether a plug-in takes a file that otherwise cannot be dumped."""
    if not plugins.active():
        return False
    return (resource is None or any(resource.obstacles(file, context))) and plugins.knows("file", file)
