"""Settings of a process that are files of /proc: oom_score_adj and loginuid (proc(5))."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from cr import log
from cr.contract.idmaps import uids
from cr.contract.resource import ProcessResource
from cr.kernel import controls, proc

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

_FILES = ("oom_score_adj", "loginuid")
_UNSET = (1 << 32) - 1
_AT_FDCWD = -100


class ProcSettings(ProcessResource):
    """Read from outside.  A value that we may not set is kept as it is, with a warning."""

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        for name in _FILES:
            value = _read(thread.tid, name)
            if value is not None:
                setattr(core.tc, name, value)

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        wanted = {name: getattr(thread.core.tc, name) for name in _FILES if thread.core.tc.HasField(name)}
        if wanted.get("loginuid") not in (None, _read(thread.puppet.tid, "loginuid")):
            _log_in(program, wanted["loginuid"], context)
        context.at_end.append(lambda: _apply(thread, wanted))


def _read(tid: int, name: str) -> int | None:
    """None where the kernel has no such file (audit is optional)."""
    try:
        return int(proc.read_text(tid, name))
    except FileNotFoundError:
        return None


def _log_in(program: Program, uid: int, context: RestoreContext) -> None:
    """Only a process itself may set its loginuid; whether that went well is looked at in the end.

    The files of one that is not dumpable are root's, whom a task in a user namespace may not be (Dumpable comes later).
    """
    text = str(uid if uid == _UNSET else uids(context).inside(uid))
    program.call("prctl", controls.PR_SET_DUMPABLE, 1, 0, 0, 0)
    fd = program.call("openat", _AT_FDCWD, program.cstr("/proc/self/loginuid"), os.O_WRONLY, may_fail=True)
    program.call("write", fd, program.cstr(text), len(text), may_fail=True)
    program.call("close", fd, may_fail=True)


def _apply(thread: RestoreThread, wanted: dict[str, int]) -> None:
    for name, value in wanted.items():
        current = _read(thread.puppet.tid, name)
        if current is None or current == value:
            continue
        try:
            _write(thread.puppet.tid, name, value)
        except OSError as error:
            log.warning(f"{name} of {thread.task} is {current} now, not {value} as it was: {error.strerror}")


def _write(tid: int, name: str, value: int) -> None:
    if name == "loginuid":
        raise PermissionError(errno.EPERM, "its own attempt to set it failed")
    write_setting(tid, name, str(value))


def write_setting(tid: int, name: str, text: str) -> None:
    """Write a file of /proc/TID in one go."""
    fd = os.open(f"/proc/{tid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
