"""/proc/PID/mountinfo as values (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re

from cr.kernel import mounts as sys
from cr.kernel.proc import read_bytes
from cr.values import dataclass

DELETED = "//deleted"

MOUNT_FLAGS = {
    "ro": sys.MS_RDONLY,
    "nosuid": sys.MS_NOSUID,
    "nodev": sys.MS_NODEV,
    "noexec": sys.MS_NOEXEC,
    "noatime": sys.MS_NOATIME,
    "nodiratime": sys.MS_NODIRATIME,
    "relatime": sys.MS_RELATIME,
    "nosymfollow": sys.MS_NOSYMFOLLOW,
}
SUPERBLOCK_FLAGS = {
    "ro": sys.MS_RDONLY,
    "sync": sys.MS_SYNCHRONOUS,
    "dirsync": sys.MS_DIRSYNC,
    "mand": sys.MS_MANDLOCK,
    "lazytime": sys.MS_LAZYTIME,
}


@dataclass(frozen=True)
class Mount:
    """One line: a mount as a task sees it.  Paths begin with "/"; `device` is major << 20 | minor."""

    id: int
    parent: int
    device: int
    root: str
    mountpoint: str
    flags: int
    shared: int
    master: int
    fsname: str
    source: str
    sb_flags: int
    options: str
    idmapped: bool = False
    deleted: bool = False
    """the directory or file that is mounted here has been removed"""

    @property
    def device_name(self) -> str:
        return f"{self.device >> 20}:{self.device & 0xFFFFF}"

    @property
    def whole(self) -> bool:
        """Whether it shows its filesystem from the filesystem's root on."""
        return self.root == "/"

    def __str__(self) -> str:
        return f"mount {self.mountpoint} ({self.fsname})"


def mountinfo(pid: int | str) -> list[Mount]:
    """Every mount in the namespace of a process that its root directory reaches, in the kernel's order."""
    return [parse_line(line) for line in read_bytes(pid, "mountinfo").splitlines()]


def parse_line(line: bytes) -> Mount:
    left, _, right = line.partition(b" - ")
    number, parent, device, root, mountpoint, options, *tags = (_text(word) for word in left.split(b" "))
    fsname, source, super_options = (_text(word) for word in ([*right.split(b" ", 2), b"", b""])[:3])
    major, minor = device.split(":")
    values = dict(tag.partition(":")[::2] for tag in tags)
    words = options.split(",")
    sb_flags, rest = _superblock_options(super_options)
    return Mount(
        id=int(number),
        parent=int(parent),
        device=int(major) << 20 | int(minor),
        root=root.removesuffix(DELETED) or "/",
        mountpoint=mountpoint,
        flags=_mount_flags(words, values),
        shared=int(values.get("shared", 0)),
        master=int(values.get("master", 0)),
        fsname=fsname,
        source=source,
        sb_flags=sb_flags,
        options=rest,
        idmapped="idmapped" in words,
        deleted=root.endswith(DELETED),
    )


def _mount_flags(words: list[str], tags: dict[str, str]) -> int:
    """MS_* bits; one of relatime, noatime and strictatime is always set."""
    flags = sum(MOUNT_FLAGS.get(word, 0) for word in words)
    if not flags & (sys.MS_RELATIME | sys.MS_NOATIME):
        flags |= sys.MS_STRICTATIME
    flags |= sys.MS_SHARED if "shared" in tags else 0
    flags |= sys.MS_SLAVE if "master" in tags else 0
    flags |= sys.MS_UNBINDABLE if "unbindable" in tags else 0
    return flags


def _superblock_options(text: str) -> tuple[int, str]:
    """(MS_* bits, the filesystem's own options)."""
    words = text.split(",") if text else []
    flags = sum(SUPERBLOCK_FLAGS.get(word, 0) for word in words)
    return flags, ",".join(word for word in words if word != "rw" and word not in SUPERBLOCK_FLAGS)


def _text(word: bytes) -> str:
    """Undo the kernel's \\ooo escapes."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), word))
