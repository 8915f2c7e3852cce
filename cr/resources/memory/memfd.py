"""memfd_create(2): files that exist in memory only.

Shared anonymous memory, opened through /proc/PID/map_files, is such a file too; it is called /dev/zero.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from cr.contract.idmaps import gids, uids
from cr.contract.outside_files import inherited, take
from cr.contract.owner import dump_owner, restore_owner
from cr.contract.resource import FdResource
from cr.contract.shmem import dump_shmem, restore_shmem
from cr.kernel import files
from cr.kernel.map_files import shared_anonymous
from cr.model import BadImages

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, OpenFile
    from cr.contract.restoring import RestoreContext
    from images import messages as m

PREFIX, SUFFIX = "/memfd:", " (deleted)"
ANONYMOUS = "/dev/zero"
F_SEAL_WRITE = 0x8
MFD_NOEXEC_SEAL = 0x8
_HUGE_SHIFT = 26


class Memfd(FdResource):
    """An open memfd.  The memory behind it (memfd.img) may be open, and mapped, several times."""

    type = 18
    field = "memfd"

    @classmethod
    def recognises(cls, file: OpenFile) -> bool:
        return is_memfd(file)

    @classmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> m.memfd_file_entry:
        from images import messages as m

        inode: m.memfd_inode_entry = context.once(("memfd", file.stat.st_ino), lambda: _dump_inode(file, context))
        flags = file.flags & ~os.O_CLOEXEC
        if file.fd < 0:
            flags &= ~os.O_PATH
        return m.memfd_file_entry(id=file.id, flags=flags, pos=file.pos, fown=dump_owner(file), inode_id=inode.inode_id)

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        context.images.write("memfd", entries=_inodes(context))

    @classmethod
    def make(cls, entry: m.memfd_file_entry, context: RestoreContext) -> int:
        given = _given(entry.inode_id, context)
        if given is not None:
            return take(given, entry.flags, context)  # as it is: where it stands is the business of whoever gives it
        fd = _open(entry, context)
        if not entry.flags & os.O_PATH:
            os.lseek(fd, entry.pos, os.SEEK_SET)
            files.set_status_flags(fd, entry.flags)
            restore_owner(fd, entry.fown, context)
        return fd


def is_memfd(file: OpenFile) -> bool:
    """Whether an open file is a memory object that has no name in any file system."""
    if file.link.startswith(PREFIX):
        return True
    return file.link == ANONYMOUS + SUFFIX and stat.S_ISREG(file.stat.st_mode)


def opened_anonymous(shmid: int, context: RestoreContext) -> int | None:
    """Our descriptor of an anonymous shared memory object that is also open in some task; None where it is not."""
    found = (inode for inode in _saved(context).values() if inode.shmid == shmid and inode.name == ANONYMOUS)
    inode = next(found, None)
    return None if inode is None else original(inode.inode_id, context)


def original(inode_id: int, context: RestoreContext) -> int:
    """The descriptor that memfd_create(2) gave us.  Unlike any other it does not stand against execveat(2)."""
    return context.once(("memfd", inode_id), lambda: _make_inode(inode_id, context))


def mapped(entry: m.vma_entry, context: RestoreContext) -> int:
    """Our descriptor of the memfd that is mapped, open as the mapping wants it."""
    found = context.file_entries.get(entry.shmid)
    if found is None or found.type != Memfd.type:
        raise BadImages(f"the mapping at {entry.start:#x} is of memfd {entry.shmid:#x}, which files.img has not")
    if files.access_mode(entry.fdflags or found.memfd.flags) == os.O_RDWR:
        return original(found.memfd.inode_id, context)
    return context.file(entry.shmid)


def _open(entry: m.memfd_file_entry, context: RestoreContext) -> int:
    first = original(entry.inode_id, context)
    taken: set[int] = context.once("original memfds taken", set)
    if files.access_mode(entry.flags) == os.O_RDWR and not entry.flags & os.O_PATH and first not in taken:
        taken.add(first)
        return first
    return files.reopen(first, entry.flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC))


def _inodes(context: DumpContext) -> list[m.memfd_inode_entry]:
    return context.once("memfd inodes", list)


def _dump_inode(file: OpenFile, context: DumpContext) -> m.memfd_inode_entry:
    from images import messages as m

    fd = files.reopen(file.local, os.O_RDONLY)
    try:
        status = os.fstat(fd)
        inode = m.memfd_inode_entry(
            name=file.link.removeprefix(PREFIX).removesuffix(SUFFIX),
            uid=uids(context).inside(status.st_uid),
            gid=gids(context).inside(status.st_gid),
            size=status.st_size,
            shmid=status.st_ino,
            seals=fcntl.fcntl(fd, fcntl.F_GET_SEALS),
            inode_id=len(_inodes(context)) + 1,
            mode=status.st_mode,
        )
        kind, block_size = files.filesystem(fd)
        if kind == files.HUGETLBFS_MAGIC:
            inode.hugetlb_flag = os.MFD_HUGETLB | (block_size.bit_length() - 1) << _HUGE_SHIFT
        dump_shmem(context, status.st_ino, fd, status.st_size)
    finally:
        os.close(fd)
    _inodes(context).append(inode)
    return inode


def _make_inode(inode_id: int, context: RestoreContext) -> int:
    """The memory with its content; a descriptor of ours."""
    given = _given(inode_id, context)
    if given is not None:
        return given
    inode = _inode(inode_id, context)
    fd = context.keep(_empty(inode))
    restore_shmem(context, inode.shmid, fd)
    os.fchown(fd, uids(context).outside(inode.uid), gids(context).outside(inode.gid))
    if inode.HasField("mode"):
        os.fchmod(fd, inode.mode & 0o7777)
    if inode.seals & F_SEAL_WRITE:  # no mapping may write to it: seal it before there are any
        _seal(fd, inode.seals)
    else:  # mappings made before F_SEAL_FUTURE_WRITE may write
        context.at_end.append(lambda: _seal(fd, inode.seals))
    return fd


def _given(inode_id: int, context: RestoreContext) -> int | None:
    """Our descriptor of the memfd that the user gave in the place of this one (--inherit-fd)."""
    return inherited(PREFIX + _inode(inode_id, context).name, context)


def _inode(inode_id: int, context: RestoreContext) -> m.memfd_inode_entry:
    inode = _saved(context).get(inode_id)
    if inode is None:
        raise BadImages(f"memfd.img has no memfd {inode_id}, which a task has open")
    return inode


def _saved(context: RestoreContext) -> dict[int, m.memfd_inode_entry]:
    """The inodes of memfd.img by their ids."""

    def read() -> dict[int, m.memfd_inode_entry]:
        entries = context.images.read("memfd") if context.images.exists("memfd") else []
        return {entry.inode_id: entry for entry in entries}

    return context.once("memfd inodes", read)


def _empty(inode: m.memfd_inode_entry) -> int:
    """The object in its size."""
    if inode.name == ANONYMOUS:
        fd = shared_anonymous(max(1, inode.size))  # whole pages
    else:
        fd = os.memfd_create(inode.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | inode.hugetlb_flag)
    os.ftruncate(fd, inode.size)
    return fd


def _seal(fd: int, seals: int) -> None:
    now = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    if seals & ~now:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals & ~now)
