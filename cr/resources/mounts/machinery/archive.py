"""Write a filesystem as a compressed tar archive, of the kind that GNU tar reads and writes.

Kept: owners (as the tasks know them), modes, times to the nanosecond, hard links, holes, devices, fifos, and
extended attributes (pax records SCHILY.xattr.*).  Sockets are left out: their owners make them again.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import tarfile
from typing import TYPE_CHECKING

from cr.contract.idmaps import IDENTITY, IdMap, gids, uids

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext

BLOCK = 512
XATTR = "SCHILY.xattr."
_COPY = 1 << 20
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}

Extent = tuple[int, int]
"""(offset, length) of data in a file with holes"""


def pack(root_fd: int, out_fd: int, context: DumpContext) -> None:
    """Write everything below the directory `root_fd` to `out_fd`."""
    Packer(uids(context), gids(context)).pack(root_fd, out_fd)


class Packer:
    """One archive under way."""

    def __init__(self, uid_map: IdMap = IDENTITY, gid_map: IdMap = IDENTITY) -> None:
        self._uids, self._gids = uid_map, gid_map
        self._seen: dict[int, str] = {}
        """inode -> the name under which a file with several names was written"""

    def pack(self, root_fd: int, out_fd: int) -> None:
        base, device = f"/proc/self/fd/{root_fd}", os.fstat(root_fd).st_dev
        with (
            os.fdopen(out_fd, "wb", closefd=False) as raw,
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
            tarfile.TarFile(
                fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape", copybufsize=_COPY
            ) as archive,
        ):
            for directory, directories, files in os.walk(base, onerror=_raise):
                # What is mounted here and cannot be taken away (see view.py) is no part of this filesystem.
                directories[:] = sorted(name for name in directories if _device(f"{directory}/{name}") == device)
                inside = "." + directory[len(base) :]
                self._add(archive, f"{directory}/.", inside)
                links = [name for name in directories if os.path.islink(f"{directory}/{name}")]
                for name in sorted(links + files):
                    self._add(archive, f"{directory}/{name}", f"{inside}/{name}")

    def _add(self, archive: tarfile.TarFile, path: str, name: str) -> None:
        status = os.lstat(path)
        if stat.S_ISSOCK(status.st_mode):
            return
        member = self._member(path, name, status)
        if member.type == tarfile.REGTYPE and status.st_size:
            with open(path, "rb") as content:
                _add_file(archive, member, content.fileno(), status)
        else:
            archive.addfile(member)

    def _member(self, path: str, name: str, status: os.stat_result) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.type = _KINDS[stat.S_IFMT(status.st_mode)]
        member.mode = stat.S_IMODE(status.st_mode)
        member.uid, member.gid = self._uids.inside(status.st_uid), self._gids.inside(status.st_gid)
        member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        seconds, rest = divmod(status.st_mtime_ns, 10**9)
        member.mtime = seconds
        member.pax_headers = _xattrs(path) | ({"mtime": f"{seconds}.{rest:09d}"} if rest else {})
        if member.type == tarfile.SYMTYPE:
            member.linkname = os.readlink(path)
        elif status.st_nlink > 1 and member.type != tarfile.DIRTYPE:
            member.linkname = self._seen.setdefault(status.st_ino, name)
            if member.linkname != name:
                member.type = tarfile.LNKTYPE
        return member


def _device(path: str) -> int:
    return os.lstat(path).st_dev


def _raise(error: OSError) -> None:
    raise error


def _xattrs(path: str) -> dict[str, str]:
    """Extended attributes as pax records; none where the filesystem knows no such thing."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        values = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return {}
    return {XATTR + name: value.decode("utf-8", "surrogateescape") for name, value in values.items()}


def _add_file(archive: tarfile.TarFile, member: tarfile.TarInfo, fd: int, status: os.stat_result) -> None:
    extents = [(0, status.st_size)] if status.st_blocks * 512 >= status.st_size else data_extents(fd, status.st_size)
    head = b""
    if extents != [(0, status.st_size)]:
        head = _sparse_map(extents)
        _make_sparse(member, status.st_size)
    member.size = len(head) + sum(length for _, length in extents)
    archive.addfile(member, _Extents(fd, head, extents))


def data_extents(fd: int, size: int) -> list[Extent]:
    """Where a file has data, by SEEK_DATA and SEEK_HOLE (lseek(2)); one of length 0 marks the end after a hole."""
    found: list[Extent] = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            found.append((size, 0))
            break
        position = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        found.append((start, position - start))
    return found


def _sparse_map(extents: list[Extent]) -> bytes:
    """The map that stands before the data of a sparse member, format 1.0 (GNU tar manual, "Sparse Formats")."""
    text = f"{len(extents)}\n" + "".join(f"{start}\n{length}\n" for start, length in extents)
    return text.encode() + bytes(-len(text) % BLOCK)


def _make_sparse(member: tarfile.TarInfo, size: int) -> None:
    directory, _, name = member.name.rpartition("/")
    member.pax_headers = {
        **member.pax_headers,
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": member.name,
        "GNU.sparse.realsize": str(size),
    }
    member.name = f"{directory}/GNUSparseFile.0/{name}"


class _Extents:
    """What tarfile reads a member's content from: a head, then stretches of a file."""

    def __init__(self, fd: int, head: bytes, extents: list[Extent]) -> None:
        self._fd, self._head, self._extents = fd, head, list(extents)

    def read(self, size: int = -1, /) -> bytes:
        parts = []
        while size > 0 and (part := self._next(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _next(self, size: int) -> bytes:
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        if not self._extents:
            return b""
        start, length = self._extents.pop(0)
        part = os.pread(self._fd, min(size, length), start)
        if len(part) < length:
            self._extents.insert(0, (start + len(part), length - len(part)))
        return part
