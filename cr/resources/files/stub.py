"""--stub: a descriptor that cannot be dumped is replaced by one that does nothing.

The stand-in is an eventfd whose counter is zero: poll(2) and epoll(7) take it and never report input, a read waits (or
fails with EAGAIN), every other use fails.  What a program does then is its own affair, hence only on request.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cr import log
from cr.resources.events.anonymous_inode import common

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.resource import FdResource
    from images import messages as m

ALL = "all"


def wanted(file: OpenFile, resource: type[FdResource] | None, context: DumpContext) -> bool:
    """Whether the user allows a stub for this file, and it needs one."""
    patterns = context.options.stub
    if not any(pattern == ALL or fnmatchcase(file.link, pattern) for pattern in patterns):
        return False
    return resource is None or any(resource.obstacles(file, context))


def record(file: OpenFile) -> m.eventfd_file_entry:
    """The eventfd that takes its place."""
    from images import messages as m

    log.warning(f"{file} is replaced by a stub")
    return m.eventfd_file_entry(counter=0, **common(file))
