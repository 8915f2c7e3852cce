"""What a plug-in is: a class that knows how to carry something over that the engine does not.

A distribution offers one as an entry point of the group `woodfrog.plugins`; a single file works too, in the directory
that --libdir names.  docs/plugins.md tells it with an example.  Every method may raise any exception with a sentence
in it: a dump or restore then fails with that sentence, and takes back what it did.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cr.values import dataclass

GROUP = "woodfrog.plugins"


@dataclass(frozen=True)
class File:
    """An open file of a task at dump.

    `open()` is a descriptor of ours of the same open file description (pidfd_getfd(2)), valid during the call.
    """

    pid: int
    fd: int
    link: str
    stat: os.stat_result
    flags: int
    open: Callable[[], int]


@dataclass(frozen=True)
class MountPoint:
    """A mount of a task, in the terms of /proc/PID/mountinfo."""

    mountpoint: str
    fsname: str
    source: str
    root: str
    options: str


@dataclass(frozen=True)
class DeviceMapping:
    """A piece of device memory that a task has mapped: addresses and offset in bytes."""

    pid: int
    start: int
    end: int
    offset: int
    path: str


class Plugin:
    """The base class; a plug-in overrides what it has an answer to.

    `name` is written into the images: at restore the data goes to the plug-in of that name.
    """

    name = ""

    def begin(self, stage: str, images_dir: str) -> None:
        """Before anything else; `stage` is "pre-dump", "dump" or "restore"."""

    def end(self, stage: str, succeeded: bool) -> None:
        """At the very end, however it went."""

    def knows_file(self, file: File) -> bool:
        """Whether to leave an open file to this plug-in, which otherwise cannot be dumped.  Asked more than once."""
        return False

    def dump_file(self, file: File) -> bytes:
        """What `restore_file` will need; the tasks stand still."""
        return b""

    def restore_file(self, data: bytes) -> int:
        """A new descriptor for the file, which the engine takes over."""
        raise OSError(f"the plug-in {self.name} has no way to restore a file")

    def knows_socket(self, file: File) -> bool:
        """The same for a unix socket whose peer is outside of the tree."""
        return False

    def dump_socket(self, file: File) -> bytes:
        """What `restore_socket` will need."""
        return b""

    def restore_socket(self, data: bytes) -> int:
        """A new descriptor for the socket, connected as it should be."""
        raise OSError(f"the plug-in {self.name} has no way to restore a socket")

    def knows_mount(self, mount: MountPoint) -> bool:
        """Whether this plug-in will have the mount, which otherwise cannot be dumped, on the host at restore."""
        return False

    def dump_mount(self, mount: MountPoint) -> str:
        """A name for the mount, which the images keep."""
        return mount.mountpoint

    def restore_mount(self, name: str) -> str:
        """The path on the host that is bound to the mountpoint."""
        raise OSError(f"the plug-in {self.name} has no way to restore a mount")

    def knows_mapping(self, mapping: DeviceMapping) -> bool:
        """Whether this plug-in keeps what is in that device memory."""
        return False

    def restore_mapping(self, path: str, start: int, offset: int) -> tuple[int, int] | None:
        """(our descriptor of the device, offset) to map at `start`; None: the file at `path`, as it was."""
        return None

    def pause(self, pid: int) -> None:
        """A process of the tree is about to be frozen: let its devices come to rest."""

    def checkpoint(self, pid: int) -> None:
        """It stands still."""

    def resume(self, pid: int) -> None:
        """It runs, or is about to: after a restore, and after a dump that left it alive.  May not fail any more."""
