"""signalfd(2): signals that are read instead of handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.resource import FdResource
from cr.kernel.events import signalfd
from cr.resources.events.anonymous_inode import common, finish

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m


class SignalFd(FdResource):
    """Its mask is all there is: the signals themselves wait in the tasks' queues."""

    type = 9
    field = "sgfd"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == "anon_inode:[signalfd]"

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.signalfd_entry:
        from images import messages as m

        return m.signalfd_entry(sigmask=int(file.info["sigmask"], 16), **common(file))

    @classmethod
    def make(cls, entry: m.signalfd_entry, context: RestoreContext) -> int:
        return finish(signalfd(entry.sigmask, 0), entry, context)
