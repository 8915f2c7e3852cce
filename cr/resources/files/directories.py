"""Working directory, root directory and umask of a process; fs-PID.img."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m


class Directories(ProcessResource):
    """/proc/PID/cwd, /proc/PID/root and umask(2).  The restore goes there in cr.restore.directories."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        from images import messages as m

        task = thread.task
        entry = m.fs_entry(
            cwd_id=context.files.add_path(task, "cwd", os.O_RDONLY),
            root_id=context.files.add_path(task, "root", os.O_RDONLY),
            umask=int(thread.status["Umask"], 8),
        )
        context.images.write("fs", task.vpid, entries=[entry])

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """Done while descriptors are handed over."""
