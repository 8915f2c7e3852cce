"""Is the file at restore the one it was at dump?  Its kind, permissions, size, and for programs their build id.

Another file under the same name would be read, written or executed by mistake.  --file-validation says how much is
looked at, --skip-file-rwx-check and --accept-grown what may differ (criu(8)).
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

from cr.kernel import files
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_ELF64 = b"\x7fELF\x02\x01"
_HEAD = 4096
_NOTES = 4096
"""as much as we read of a file's beginning, and of a segment of notes"""
_PT_NOTE, _NT_GNU_BUILD_ID = 4, 3
_SIZE_ONLY = "filesize"
_PERMISSIONS = 0o7777


def describe_identity(entry: m.reg_file_entry, file: OpenFile, context: DumpContext) -> None:
    """Note what the file is to be known by."""
    entry.mode = file.stat.st_mode
    appending = files.access_mode(entry.flags) == os.O_WRONLY and entry.flags & os.O_APPEND
    if not stat.S_ISREG(file.stat.st_mode) or appending:
        return
    entry.size = file.stat.st_size
    if context.options.file_validation != _SIZE_ONLY:
        key = ("build id", file.stat.st_dev, file.stat.st_ino)
        entry.build_id.extend(as_words(context.once(key, lambda: _build_id_of(file))))


def _build_id_of(file: OpenFile) -> bytes:
    """Of a program or library that is executable; empty where it is none, or may not be read."""
    if not file.stat.st_mode & 0o111 and ".so" not in file.link:
        return b""
    try:
        fd = os.open(f"/proc/self/fd/{file.local}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return build_id(fd)
    finally:
        os.close(fd)


def build_id(fd: int) -> bytes:
    """The build id in the notes of an ELF-64 file (elf(5)); empty where there is none."""
    head = os.pread(fd, _HEAD, 0)
    if not head.startswith(_ELF64) or len(head) < 64:
        return b""
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    if size != 56 or table + size * count > len(head):
        return b""
    for index in range(count):
        kind, _flags, offset, _vaddr, _paddr, length = struct.unpack_from("<IIQQQQ", head, table + size * index)
        if kind == _PT_NOTE:
            whole = offset + length <= len(head)
            notes = head[offset : offset + length] if whole else os.pread(fd, min(length, _NOTES), offset)
            if found := _in_notes(notes):
                return found
    return b""


def _in_notes(notes: bytes) -> bytes:
    position = 0
    while position + 12 <= len(notes):
        name, size, kind = struct.unpack_from("<III", notes, position)
        start = position + 12 + (name + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[position + 12 : position + 16] == b"GNU\0":
            return notes[start : start + size]
        position = start + (size + 3 & ~3)
    return b""


def as_words(identity: bytes) -> list[int]:
    """As reg_file_entry.build_id has it: 32-bit words as they lie in memory, the last filled up with zeroes."""
    padded = identity.ljust(len(identity) + 3 & ~3, b"\0")
    return [word for (word,) in struct.iter_unpack("<I", padded)]


def check_identity(fd: int, entry: m.reg_file_entry, context: RestoreContext) -> None:
    """CheckpointError where the file is another one now."""
    now = os.fstat(fd)
    if entry.HasField("mode"):
        _check_mode(now, entry, context)
    if not stat.S_ISREG(now.st_mode):
        return
    if entry.HasField("size") and now.st_size != entry.size:
        _check_size(now, entry, context)
    if entry.build_id and context.options.file_validation != _SIZE_ONLY:
        _check_build_id(fd, entry, context)


def _check_mode(now: os.stat_result, entry: m.reg_file_entry, context: RestoreContext) -> None:
    if stat.S_IFMT(entry.mode) != stat.S_IFMT(now.st_mode):
        raise CheckpointError(f"{entry.name} is no longer the kind of file it was when the dump was taken")
    differ = (entry.mode ^ now.st_mode) & _PERMISSIONS
    plain = stat.S_ISREG(now.st_mode) or stat.S_ISDIR(now.st_mode)
    if differ and plain and not context.options.skip_file_rwx_check:
        raise CheckpointError(
            f"{entry.name} has the permissions {now.st_mode & _PERMISSIONS:04o}, but had "
            f"{entry.mode & _PERMISSIONS:04o} when the dump was taken: set them again, or use --skip-file-rwx-check"
        )


def _check_size(now: os.stat_result, entry: m.reg_file_entry, context: RestoreContext) -> None:
    if now.st_size > entry.size and context.options.accept_grown:
        return
    grown = ", or accept it with --accept-grown" if now.st_size > entry.size else ""
    raise CheckpointError(
        f"{entry.name} has {now.st_size} bytes, but had {entry.size} when the dump was taken: restore it first{grown}"
    )


def _check_build_id(fd: int, entry: m.reg_file_entry, context: RestoreContext) -> None:
    now = os.fstat(fd)
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return  # it may be written or executed, but not read: its size has to do
    try:
        found: list[int] = context.once(("build id", now.st_dev, now.st_ino), lambda: as_words(build_id(own)))
    finally:
        os.close(own)
    if found != list(entry.build_id):
        raise CheckpointError(
            f"{entry.name} is another build of this program than when the dump was taken (its build id differs): "
            "install that one, or use --file-validation filesize"
        )
