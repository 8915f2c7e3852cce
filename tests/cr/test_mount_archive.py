"""Archives of tmpfs contents: complete, readable by GNU tar, and harmless wherever they come from."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cr.model import BadImages
from cr.resources.mounts.machinery.archive import Packer
from cr.resources.mounts.machinery.unpack import Unpacker

pytestmark = pytest.mark.root

TAR = ["tar", "--no-unquote", "--no-wildcards", "--gzip"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory: it has trusted attributes and times of nanoseconds."""
    subprocess.run(["mount", "-t", "tmpfs", "test", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def populate(root: Path) -> None:
    (root / "directory").mkdir(parents=True)
    root.chmod(0o1777)
    (root / "directory/file").write_text("content")
    os.link(root / "directory/file", root / "same")
    (root / "link").symlink_to("/does/not/exist")
    (root / "to_directory").symlink_to("directory")
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))
    (root / ("long" * 50)).write_bytes(b"x" * 70000)
    (root / "n\udcff\n").write_text("odd name")
    with (root / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"middle")
        file.truncate(1 << 23)
    (root / "hole").touch()
    os.truncate(root / "hole", 1 << 20)
    os.chown(root / "same", 12, 34)
    (root / "same").chmod(0o4755)


def attributes(root: Path) -> None:
    """What GNU tar keeps only when asked to."""
    os.setxattr(root / "directory", "trusted.note", b"\xff\0bytes")
    os.utime(root / "same", ns=(1, 1_234_567_890_123_456_789))
    os.utime(root / "directory", ns=(1, 1_111_111_111_222_222_222))


def picture(root: Path, *, exact: bool) -> dict[str, object]:
    found: dict[str, object] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            times = status.st_mtime_ns if exact else status.st_mtime_ns // 10**9
            blocks = status.st_blocks if stat.S_ISREG(status.st_mode) else 0
            values = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, times, blocks)
            extra = [os.getxattr(path, key) for key in os.listxattr(path, follow_symlinks=False)]
            found[os.path.relpath(path, root)] = (*values, extra, _content(path, status.st_mode))
    return found


def _content(path: str, mode: int) -> object:
    if stat.S_ISREG(mode):
        return Path(path).read_bytes(), os.stat(path).st_nlink
    return os.readlink(path) if stat.S_ISLNK(mode) else None


def pack(root: Path, archive: Path) -> None:
    with archive.open("wb") as file:
        fd = os.open(root, os.O_PATH)
        Packer().pack(fd, file.fileno())
        os.close(fd)


def unpack(archive: Path, root: Path) -> None:
    root.mkdir()
    with archive.open("rb") as file:
        fd = os.open(root, os.O_PATH)
        try:
            Unpacker(fd).unpack(file.fileno())
        finally:
            os.close(fd)


def test_everything_comes_back(place: Path) -> None:
    populate(place / "a")
    attributes(place / "a")
    pack(place / "a", place / "archive")
    unpack(place / "archive", place / "b")
    assert picture(place / "b", exact=True) == picture(place / "a", exact=True)
    assert (place / "b").stat().st_mode == (place / "a").stat().st_mode


def test_gnu_tar_reads_ours(place: Path) -> None:
    populate(place / "a")
    pack(place / "a", place / "archive")
    (place / "b").mkdir()
    subprocess.run([*TAR, "--extract", "--file", place / "archive", "--directory", place / "b"], check=True)
    assert picture(place / "b", exact=False) == picture(place / "a", exact=False)


def test_we_read_that_of_gnu_tar(place: Path) -> None:
    populate(place / "a")
    options = ["--sparse", "--numeric-owner", "--preserve-permissions", "--one-file-system"]
    command = [*TAR, "--create", *options, "--file", place / "archive", "--directory", place / "a", "."]
    subprocess.run(command, check=True)
    unpack(place / "archive", place / "b")
    assert picture(place / "b", exact=False) == picture(place / "a", exact=False)


def hostile(*members: tuple[str, bytes, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [("../escaped", tarfile.REGTYPE, "")],
        [("out", tarfile.SYMTYPE, ".."), ("out/escaped", tarfile.REGTYPE, "")],
        [("out", tarfile.SYMTYPE, "/tmp"), ("out/escaped", tarfile.DIRTYPE, "")],
        [("escaped", tarfile.LNKTYPE, "../archive")],
    ],
)
def test_nothing_leads_out_of_the_filesystem(place: Path, members: list[tuple[str, bytes, str]]) -> None:
    (place / "archive").write_bytes(hostile(*members))
    with pytest.raises((BadImages, OSError)):
        unpack(place / "archive", place / "b")
    assert not (place / "escaped").exists()
    assert not (place / "b/escaped").exists()


def test_a_torn_archive_is_noticed(place: Path) -> None:
    populate(place / "a")
    pack(place / "a", place / "archive")
    os.truncate(place / "archive", (place / "archive").stat().st_size // 2)
    with pytest.raises((EOFError, tarfile.TarError)):
        unpack(place / "archive", place / "b")
