"""Bring a tar archive (of ours, or of GNU tar) back into a new filesystem.

The archive may come from anywhere: nothing in it leads out of the filesystem (openat2(2), RESOLVE_BENEATH).
"""

from __future__ import annotations

import os
import stat
import tarfile
from typing import IO, TYPE_CHECKING

from cr.contract.idmaps import IDENTITY, IdMap, gids, uids
from cr.kernel import mounts as sys
from cr.kernel.ids import making_files_as
from cr.model import BadImages
from cr.resources.mounts.machinery.archive import XATTR

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext

_RESOLVE = sys.RESOLVE_BENEATH | sys.RESOLVE_NO_SYMLINKS | sys.RESOLVE_NO_XDEV
_COPY = 1 << 20
_SPECIAL = {tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO}


def unpack(image_fd: int, root_fd: int, context: RestoreContext) -> None:
    """Make everything that the archive `image_fd` holds below the directory `root_fd`."""
    try:
        with making_files_as(uids(context).outside(0), gids(context).outside(0)):
            Unpacker(root_fd, uids(context), gids(context)).unpack(image_fd)
    except (tarfile.TarError, EOFError) as error:
        raise BadImages(f"an archive of a tmpfs cannot be read: {error}") from error


class Unpacker:
    """One archive being unpacked."""

    def __init__(self, root_fd: int, uid_map: IdMap = IDENTITY, gid_map: IdMap = IDENTITY) -> None:
        self._root, self._uids, self._gids = root_fd, uid_map, gid_map
        self._times: list[tuple[str, int]] = []

    def unpack(self, image_fd: int) -> None:
        with (
            os.fdopen(image_fd, "rb", closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="r|gz", errors="surrogateescape", bufsize=_COPY) as archive,
        ):
            for member in archive:
                self._make(archive, member)
        for path, mtime in reversed(self._times):  # directories: making files in them has changed their times
            fd = self._directory(path)
            try:
                os.utime(f"/proc/self/fd/{fd}", ns=(mtime, mtime))
            finally:
                os.close(fd)

    def _directory(self, path: str) -> int:
        return sys.openat2(self._root, path or ".", os.O_PATH | os.O_DIRECTORY, 0, _RESOLVE)

    def _make(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = _clean(member.name)
        directory, _, name = path.rpartition("/")
        parent = self._directory(directory)
        try:
            if name:
                self._create(archive, member, parent, name)
            if not member.islnk():
                self._dress(member, parent, name or ".")
        finally:
            os.close(parent)
        if member.isdir():
            self._times.append((path, _mtime(member)))

    def _create(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
        if member.isdir():
            os.mkdir(name, 0o700, dir_fd=parent)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.islnk():
            self._link(member, parent, name)
        elif member.type in _SPECIAL:
            device = os.makedev(member.devmajor, member.devminor)
            os.mknod(name, 0o600 | _SPECIAL[member.type], device, dir_fd=parent)
        else:
            _write(archive, member, parent, name)

    def _link(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        directory, _, target = _clean(member.linkname).rpartition("/")
        source = self._directory(directory)
        try:
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _dress(self, member: tarfile.TarInfo, parent: int, name: str) -> None:
        """Owner first: it clears set-user-ID bits and capabilities."""
        uid, gid = self._uids.outside(member.uid), self._gids.outside(member.gid)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        if not member.issym():
            os.chmod(name, member.mode & 0o7777, dir_fd=parent)
        for key, value in member.pax_headers.items():
            if key.startswith(XATTR):
                content = value.encode("utf-8", "surrogateescape")
                path = f"/proc/self/fd/{parent}/{name}"
                os.setxattr(path, key[len(XATTR) :], content, follow_symlinks=False)
        if not member.isdir():
            os.utime(name, ns=(_mtime(member),) * 2, dir_fd=parent, follow_symlinks=False)


def _clean(name: str) -> str:
    """A member's path from the root on, without "." and empty parts; what leads upwards is refused."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadImages(f"an archive of a tmpfs holds the path {name}, which leads out of it")
    return "/".join(parts)


def _mtime(member: tarfile.TarInfo) -> int:
    """Modification time in nanoseconds; a pax record says more than the header."""
    seconds, _, rest = member.pax_headers.get("mtime", str(int(member.mtime))).partition(".")
    return int(seconds) * 10**9 + int(rest[:9].ljust(9, "0") or 0)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=parent)
    with os.fdopen(fd, "wb", buffering=0) as target:
        if (extents := getattr(member, "sparse", None)) is not None:
            _write_sparse(archive, member.offset_data, extents, target)
        elif member.size:
            content = archive.extractfile(member)
            assert content is not None
            while part := content.read(_COPY):
                target.write(part)
        target.truncate(member.size)


def _write_sparse(archive: tarfile.TarFile, start: int, extents: list[tuple[int, int]], target: IO[bytes]) -> None:
    """Only the data: what lies between stays a hole."""
    stream = archive.fileobj
    assert stream is not None
    stream.seek(start)
    for offset, size in extents:
        target.seek(offset)
        while size:
            part = stream.read(min(size, _COPY))
            if not part:
                raise EOFError("it ends inside of a file")
            target.write(part)
            size -= len(part)
