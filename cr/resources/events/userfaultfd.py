"""userfaultfd(2): page faults that a program handles itself.

Nobody hands over the faults that wait: a thread that waits for a page touches it again after the restore, and whoever
handles its faults is told of it then.  Whose memory a userfaultfd is for, and which ranges are registered with it, is
found out by cr.dump.user_faults; what is to be done at restore is in userfaultfd_build.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.resource import FdResource
from cr.kernel import faults
from cr.resources.events.anonymous_inode import common
from cr.resources.events.userfaultfd_build import build, is_userfaultfd, plan_registration
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

LINK = "anon_inode:[userfaultfd]"


@dataclass
class Found:
    """A userfaultfd of the tree: its name for the user, the pid of a task that has it, our own descriptor of it, and
    what is known of it by now."""

    name: str
    holder: int
    fd: int
    entry: m.woodfrog_userfaultfd_entry


class UserFaultFd(FdResource):
    """woodfrog-userfaultfd.img; in files.img it is something that other engines leave to a plug-in."""

    type = 16
    field = "ext"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return file.link == LINK

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        if not _features(file) & faults.INITIALIZED:
            yield (
                f"{file} is a userfaultfd that is not in use yet (UFFDIO_API), of which nobody can tell whose memory "
                "it is for: let the program set it up, or close it"
            )

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.ext_file_entry:
        from images import messages as m

        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        entry = m.woodfrog_userfaultfd_entry(
            id=file.id, flags=common(file)["flags"], features=_features(file) & ~faults.INITIALIZED,
            user_mode_only=False, owner=0,
        )  # fmt: skip
        fd = os.dup(file.local)
        context.at_release.append(lambda: os.close(fd))  # held any longer, it would keep what its holders closed
        userfaultfds(context).append(Found(str(file), file.task.pid, fd, entry))
        return m.ext_file_entry(id=file.id, fown=common(file)["fown"])

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        context.images.write("woodfrog-userfaultfd", entries=[found.entry for found in userfaultfds(context)])

    @classmethod
    def has(cls, file_id: int, context: RestoreContext) -> bool:
        return is_userfaultfd(file_id, context)

    @classmethod
    def prepare(cls, context: RestoreContext) -> None:
        plan_registration(context)

    @classmethod
    def make(cls, entry: m.ext_file_entry, context: RestoreContext) -> int:
        return build(entry, context)


def userfaultfds(context: DumpContext) -> list[Found]:
    """Those that the tasks have, once their descriptor tables are known."""
    return context.once("userfaultfds", list)


def _features(file: OpenFile) -> int:
    """The line of fdinfo is `API: version:features:ioctls`, in hexadecimal."""
    return int(file.info["API"].split(":")[1], 16)
