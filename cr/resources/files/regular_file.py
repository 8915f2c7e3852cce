"""Files that have, or had, a path: regular files, directories, devices, and O_PATH descriptors of anything."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.mounts import image_mount_id
from cr.contract.outside_files import external_name, inherited, take
from cr.contract.owner import dump_owner, restore_owner
from cr.contract.resource import FdResource
from cr.kernel import files
from cr.model import CheckpointError
from cr.resources.files import device
from cr.resources.files.file_identity import check_identity, describe_identity
from cr.resources.files.file_name import DELETED, leads_to, name_beside, tree_root
from cr.resources.files.ghost_dump import dump_ghost, too_large
from cr.resources.files.ghost_restore import ghost_file
from cr.resources.files.link_remap import dump_link, linked_file, needs_link
from cr.resources.files.message_queue import is_message_queue
from cr.resources.files.proc_file import dump_dead, open_before_births, open_dead, open_fdinfo
from cr.resources.files.remaps import LINKED, PROCFS, remaps, write_remaps
from cr.resources.memory.memfd import is_memfd

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

_NOT_REOPENED = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_CLOEXEC


def _is_secret(file: OpenFile) -> bool:
    """memfd_secret(2): it looks like a deleted file."""
    return file.link.startswith("/secretmem") and files.filesystem(file.local)[0] == files.SECRETMEM_MAGIC


class RegularFile(FdResource):
    """open(2) of a path."""

    type = 1
    field = "reg"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        if not file.link.startswith("/") or is_memfd(file) or _is_secret(file) or is_message_queue(file):
            return False
        if file.flags & os.O_PATH:
            return True
        mode = file.stat.st_mode
        if stat.S_ISCHR(mode):
            return not device.is_terminal(file.stat) and file.stat.st_rdev != device.NET_TUN
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode)

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        if external_name(file, context) is not None:
            return
        yield from device.obstacles(file)
        if file.link.endswith(DELETED) and stat.S_ISREG(file.stat.st_mode):
            yield from _deleted_obstacles(file, context)

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.reg_file_entry:
        for reason in cls.obstacles(file, context):
            context.refuse(reason)
        return describe_named(file, context)

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        write_remaps(context)

    @classmethod
    def foresee(cls, context: RestoreContext) -> None:
        for remap in remaps(context).values():
            record = context.file_entries.get(remap.orig_id)
            if remap.remap_type == PROCFS and record is not None:
                path = path_of(record.reg, context)
                open_before_births(record.reg, remap.remap_id, path, _flags(record.reg), context)

    @classmethod
    def describe(cls, entry: m.reg_file_entry) -> str:
        return f"file {entry.id:#x}: open {entry.name}"

    @classmethod
    def make(cls, entry: m.reg_file_entry, context: RestoreContext) -> int:
        given = inherited(entry.name, context)
        if given is not None:
            return take(given, entry.flags, context)
        if entry.ext:
            raise CheckpointError(
                f"{entry.name} was left out of the images: name it with --inherit-fd fd[N]:{entry.name}"
            )
        fd = open_entry(entry, context)
        try:
            check_identity(fd, entry, context)
            _seek(fd, entry, context)
            restore_owner(fd, entry.fown, context)
        except BaseException:
            os.close(fd)
            raise
        return fd


def describe_named(file: OpenFile, context: DumpContext) -> m.reg_file_entry:
    """A file with the name by which it is found again, or by which somebody hands it over."""
    entry = describe(file, context)
    outside = external_name(file, context)
    if outside is not None:
        entry.name, entry.ext = outside, True
    else:
        _set_name(entry, _find_name(file, context), context)
    return entry


def describe(file: OpenFile, context: DumpContext) -> m.reg_file_entry:
    """All but the name."""
    from images import messages as m

    flags = file.flags & ~os.O_CLOEXEC
    if file.fd < 0:
        flags &= ~os.O_PATH  # a mapping's or a directory's file: opened for its purpose at restore
    entry = m.reg_file_entry(id=file.id, flags=flags, pos=file.pos, name="", mnt_id=image_mount_id(file, context))
    entry.fown.CopyFrom(dump_owner(file))
    describe_identity(entry, file, context)
    return entry


def _deleted_obstacles(file: OpenFile, context: DumpContext) -> Iterable[str]:
    if not file.stat.st_nlink:
        reason = too_large(file, context)
        if reason is not None:
            yield reason
    elif not (
        context.options.link_remap
        or os.path.lexists(f"/proc/{file.task.pid}/root{file.link}")
        or name_beside(file, context)
    ):
        yield needs_link(file)


def _find_name(file: OpenFile, context: DumpContext) -> str:
    """The name under which the file is to be found at restore; what has none is put into the images."""
    if leads_to(file.link, file, context):
        return file.link
    name = file.link.removesuffix(DELETED)
    if dump_dead(name, file, context):
        return name
    evasion = device.other_name(file, context, tree_root(file, context))
    if evasion is not None:
        return evasion
    if name == file.link and file.stat.st_nlink:
        context.refuse(
            f"{file} is not what is found under that name: it is hidden by a mount, or its filesystem was unmounted; "
            "close it, or take that mount away"
        )
    elif file.stat.st_nlink == 0 or stat.S_ISDIR(file.stat.st_mode):
        dump_ghost(file, context)
    elif not context.options.link_remap and (other := name_beside(file, context)) is not None:
        return other
    else:
        dump_link(name, file, context)
    return name


def _set_name(entry: m.reg_file_entry, name: str, context: DumpContext) -> None:
    """Names are text in the format; one that is no UTF-8 goes into a field of our own."""
    try:
        entry.name = name
    except (UnicodeEncodeError, ValueError):
        raw = os.fsencode(name)
        entry.name = raw.decode(errors="replace")
        context.files.extra(entry.id).name = raw


def path_of(entry: m.reg_file_entry, context: RestoreContext) -> bytes:
    """The name of a file, as bytes."""
    extra = context.extra(entry.id)
    return extra.name if extra is not None and extra.HasField("name") else entry.name.encode()


def open_entry(entry: m.reg_file_entry, context: RestoreContext) -> int:
    """Open the file of an entry with its flags, or what stands for it."""
    path, remap, flags = path_of(entry, context), remaps(context).get(entry.id), _flags(entry)
    try:
        if remap is None:
            return _open_path(path, flags, entry.mnt_id, context)
        if remap.remap_type == PROCFS:
            return open_dead(entry.id, remap.remap_id, path, flags, entry.mnt_id, context)
        if remap.remap_type == LINKED:
            base = linked_file(remap.remap_id, path, context)
        else:
            base = ghost_file(remap.remap_id, path, entry.mnt_id, context)
        return files.reopen(base, flags & ~os.O_NOFOLLOW)
    except OSError as error:
        raise CheckpointError(f"cannot open {entry.name}, which a task had open: {error.strerror}") from error


def _flags(entry: m.reg_file_entry) -> int:
    """Those of the open(2) at restore."""
    flags: int = entry.flags & ~_NOT_REOPENED | os.O_NOCTTY
    return flags & ~os.O_TMPFILE if flags & files.O_TMPFILE_BIT else flags


def _open_path(path: bytes, flags: int, mnt_id: int, context: RestoreContext) -> int:
    try:
        return context.open(path, flags, mnt_id=mnt_id)
    except FileNotFoundError:
        fd = open_fdinfo(path, flags, mnt_id, context)
        if fd is None:
            raise
        return fd


def _seek(fd: int, entry: m.reg_file_entry, context: RestoreContext) -> None:
    if not entry.pos or entry.flags & os.O_PATH:
        return
    if stat.S_ISCHR(os.fstat(fd).st_mode):
        with contextlib.suppress(OSError):  # not every device has positions
            os.lseek(fd, entry.pos, os.SEEK_SET)
        return
    try:
        os.lseek(fd, entry.pos, os.SEEK_SET)
    except FileNotFoundError:  # of a descriptor's fdinfo, which the task does not have yet
        context.at_end.append(lambda: _seek(fd, entry, context))
