"""Settings of a process that are files of /proc: oom_score_adj and loginuid (proc(5))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr import log
from cr.contract.resource import ProcessResource
from cr.kernel import proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_FILES = ("oom_score_adj", "loginuid")


class ProcSettings(ProcessResource):
    """Read and written from outside.  A value that we may not set is kept as it is, with a warning."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for name in _FILES:
            value = _read(thread.tid, name)
            if value is not None:
                setattr(core.tc, name, value)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        wanted = {name: getattr(thread.core.tc, name) for name in _FILES if thread.core.tc.HasField(name)}
        context.at_end.append(lambda: _apply(thread, wanted))


def _read(tid: int, name: str) -> int | None:
    """None where the kernel has no such file (audit is optional)."""
    try:
        return int(proc.read_text(tid, name))
    except FileNotFoundError:
        return None


def _apply(thread: RestoreThread, wanted: dict[str, int]) -> None:
    for name, value in wanted.items():
        current = _read(thread.puppet.tid, name)
        if current is None or current == value:
            continue
        try:
            write_setting(thread.puppet.tid, name, str(value))
        except OSError as error:
            log.warning(f"{name} of {thread.task} is {current} now, not {value} as it was: {error.strerror}")


def write_setting(tid: int, name: str, text: str) -> None:
    """Write a file of /proc/TID in one go."""
    fd = os.open(f"/proc/{tid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
