"""File locks: POSIX and open-file-description locks (fcntl(2)), flock(2), leases (F_SETLEASE)."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from typing import TYPE_CHECKING

from cr.contract.resource import ProcessResource, Stage
from cr.kernel.patterns import pattern
from cr.model import CheckpointError
from cr.resources.files.leases import BREAKING, take_lease
from cr.values import dataclass

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpThread, OpenFile
    from cr.contract.restoring import RestoreContext, RestoreThread
    from cr.remote.program import Program
    from images import messages as m

POSIX, FLOCK, OFD, LEASE = 1, 2, 4, 8
"""file_lock_entry.flag"""
F_OFD_SETLK = 37
_NAMES = {"POSIX": POSIX, "FLOCK": FLOCK, "OFDLCK": OFD, "LEASE": LEASE}
_TYPES = {"READ": fcntl.F_RDLCK, "WRITE": fcntl.F_WRLCK, "UNLCK": fcntl.F_UNLCK}
_LINE = pattern(r"^lock:\s+\d+: (\w+)\s+(\w+)\s+(\w+)\s+(-?\d+) \S+ (\d+) (\d+|EOF)$", re.MULTILINE)
_WHAT = {POSIX: "a POSIX lock on", FLOCK: "a flock(2) lock on", OFD: "an OFD lock on"}


@dataclass(frozen=True)
class Lock:
    """One line of fdinfo; `length` 0 reaches to the end of the file.  Of a lease that is being broken, `type` says
    what will be left of it, and has the bit BREAKING."""

    flag: int
    type: int
    start: int
    length: int


def parse(info: str) -> list[Lock]:
    """The locks in the fdinfo of a descriptor."""
    found = []
    for kind, state, type_name, _, start, end in _LINE.findall(info):
        length = 0 if end == "EOF" else int(end) - int(start) + 1
        type = _TYPES[type_name] | (BREAKING if state == "BREAKING" else 0)
        found.append(Lock(_NAMES.get(kind, 0), type, int(start), length))
    return found


def note_locks(file: OpenFile, context: DumpContext) -> None:
    """Remember the locks that are seen at a descriptor: those of the description once, POSIX ones per table."""
    from images import messages as m

    for lock in parse(file.info_text):
        owner = file.task.ids["files_id"] if lock.flag == POSIX else 0
        seen: set[object] = context.once("file locks seen", set)
        if (file.id, lock, owner) in seen:
            continue
        seen.add((file.id, lock, owner))
        for reason in _objections(lock, file, context):
            context.refuse(reason)
        entries: list[m.file_lock_entry] = context.once("file locks", list)
        entries.append(
            m.file_lock_entry(
                flag=lock.flag, type=lock.type, pid=file.task.vpid, fd=file.fd, start=lock.start, len=lock.length
            )
        )


def objections(file: OpenFile, context: DumpContext) -> list[str]:
    """What stands against a dump of this descriptor, seen from outside."""
    return [reason for lock in parse(file.info_text) for reason in _objections(lock, file, context)]


def _objections(lock: Lock, file: OpenFile, context: DumpContext) -> list[str]:
    if not context.options.file_locks:
        return [f"{file.task} holds file locks, one on {file.link}: use --file-locks to dump and restore them"]
    if not lock.flag:
        return [f"{file} has a lock of an unknown kind: release it"]
    return []


class FileLocks(ProcessResource):
    """Locks are taken by the task itself, so that they are its own; leases belong to the open file."""

    stage = Stage.STATE

    def record(self, thread: DumpThread, core: m.core_entry, context: DumpContext) -> None:
        """All locks go into one image, which the first task writes: descriptors of all are known by then."""
        context.once("file locks written", lambda: self._write(context))

    @staticmethod
    def _write(context: DumpContext) -> bool:
        entries: list[m.file_lock_entry] = context.once("file locks", list)
        if entries:
            context.images.write("filelocks", entries=entries)
        return True

    @classmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        for lock in context.once("file locks", lambda: _read(context)):
            if lock.pid == thread.task.vpid and lock.flag == LEASE:
                take_lease(lock, thread.task, context)
            elif lock.pid == thread.task.vpid:
                _add_call(program, lock)


def _read(context: RestoreContext) -> list[m.file_lock_entry]:
    if not context.images.exists("filelocks"):
        return []
    if not context.options.file_locks:
        raise CheckpointError("the images hold file locks: use --file-locks to restore them")
    return context.images.read("filelocks")


def _add_call(program: Program, lock: m.file_lock_entry) -> None:
    note = f"{_WHAT.get(lock.flag, 'a lock on')} descriptor {lock.fd}"
    if lock.flag == FLOCK:
        operation = {fcntl.F_RDLCK: fcntl.LOCK_SH, fcntl.F_WRLCK: fcntl.LOCK_EX}[lock.type]
        program.call("flock", lock.fd, operation | fcntl.LOCK_NB, note=note)
    else:
        command = F_OFD_SETLK if lock.flag == OFD else fcntl.F_SETLK
        record = program.data(struct.pack("<hh4xqqi4x", lock.type, os.SEEK_SET, lock.start, lock.len, 0))
        program.call("fcntl", lock.fd, command, record, note=note)
