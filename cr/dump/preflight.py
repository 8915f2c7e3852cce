"""Which tasks of a tree can be frozen at all: asked from outside, before anything is."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator

from cr.contract.dumping import DumpTask
from cr.kernel import proc
from cr.model import CheckpointError
from cr.options import Options

_ELF_CLASS = 4
_ELFCLASS32 = 1
TRACER_PATIENCE = 0.5  # seconds


class NoSuchProcess(CheckpointError):
    """There is nothing to dump."""

    errno = errno.ESRCH


def check_root(pid: int) -> None:
    """CheckpointError where `pid` is no process that could be the root of a tree."""
    try:
        fields, stat = proc.status(pid), proc.stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise NoSuchProcess(f"there is no process {pid}") from None
    if fields["Tgid"] != str(pid):
        raise CheckpointError(f"{pid} is a thread of process {fields['Tgid']}: name the process")
    if stat.is_kernel_thread:
        raise CheckpointError(f"task {pid} ({stat.comm}) is a kernel thread: only programs can be dumped")
    if pid in _ancestors(os.getpid()):
        raise CheckpointError(
            f"task {pid} ({stat.comm}) is an ancestor of this very process, or it: dump it from outside of its tree"
        )
    if stat.state in "ZX" and len(proc.threads(pid)) == 1:
        raise CheckpointError(f"task {pid} ({stat.comm}) has ended, only its zombie is left")
    if _keeps_its_files(pid):
        raise CheckpointError(
            f"the files that task {pid} ({stat.comm}) has mapped are not for us to open: that takes "
            "CAP_CHECKPOINT_RESTORE in the first user namespace of the machine, not in one of ours"
        )


def _keeps_its_files(pid: int) -> bool:
    """Links of /proc/PID/map_files lead nowhere without that capability (proc(5)), whoever may trace the task."""
    try:
        for name in os.listdir(f"/proc/{pid}/map_files")[:1]:
            os.stat(f"/proc/{pid}/map_files/{name}")
    except PermissionError as error:
        return str(error.filename).count("/") > 3  # the directory itself is a matter of tracing
    except (FileNotFoundError, ProcessLookupError):
        pass  # unmapped just now
    return False


def _is_traced(fields: dict[str, str]) -> bool:
    return fields["TracerPid"] not in ("0", str(os.getpid()))


def _untraced(pid: int) -> dict[str, str]:
    """/proc/PID/status; a tracer gets a moment to leave: what cleans up after a dump that was killed is soon done."""
    deadline = time.monotonic() + TRACER_PATIENCE
    while _is_traced(fields := proc.status(pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return fields


def obstacles(task: DumpTask, tree: list[DumpTask], options: Options) -> Iterator[str]:
    """Reasons why this task cannot be frozen or would not come back."""
    fields = _untraced(task.pid)
    if _is_traced(fields):
        yield f"{task} is traced by process {fields['TracerPid']}: detach that debugger first"
    if _is_32_bit(task.pid):
        yield f"{task} is a 32-bit task, which is not supported: run a 64-bit build of it"
    if not options.shell_job:
        yield from _outside(task, tree)


def _outside(task: DumpTask, tree: list[DumpTask]) -> Iterator[str]:
    """A session whose leader lives outside of the tree is somebody else's: a shell's job."""
    session = task.stat.sid
    pids = {other.tgid for other in tree}
    if session not in pids and (session == 0 or _parent(session) not in (None, *pids)):
        yield f"{task} is in session {session}, whose leader is outside of the tree: use --shell-job"


def _parent(pid: int) -> int | None:
    """None where there is no such process; that of a zombie, which `tree` leaves out, is in the tree or not."""
    try:
        return proc.stat(pid).ppid
    except (FileNotFoundError, ProcessLookupError):
        return None


def _is_32_bit(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/exe", "rb") as file:
            return file.read(_ELF_CLASS + 1)[_ELF_CLASS:] == bytes([_ELFCLASS32])
    except OSError:
        return False  # it just ended, or its file cannot be read


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid:
        found.add(pid)
        pid = proc.stat(pid).ppid
    return found
