"""Filesystem types that a container can mount anew: the contract of cr/resources/mounts.

A type is a class in a file there; it registers by existing.  A mount of any other type is dumped only in its
place: as the container's root, as a bind mount of what is restored anyway, or as something external.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from cr.contract.resource import discover, subclasses

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext
    from cr.contract.restoring import RestoreContext
    from cr.kernel.mountinfo import Mount
    from images import messages as m

UNSUPPORTED = 0
AUTO = 16
"""mnt_entry.fstype of a type without a number of its own; `fsname` says which"""


class FilesystemResource(ABC):
    """One type of filesystem."""

    names: ClassVar[tuple[str, ...]]
    """as /proc/PID/mountinfo shows it; the first one is what is mounted at restore"""
    code: ClassVar[int]
    """mnt_entry.fstype; AUTO where the format has no number for it"""
    everywhere: ClassVar[bool] = False
    """the kernel fills it: a part of it can be bound even where its root is mounted nowhere in the container"""
    has_content: ClassVar[bool] = False
    """whether `dump` and `fill` have anything to do"""
    shows: ClassVar[str] = ""
    """the kind of namespace that it shows: that which the one who mounts it is in"""
    triggers: ClassVar[bool] = False
    """whether going to a directory in it may have something mounted there"""
    last: ClassVar[bool] = False
    """mounted when everything else stands, with the container's root as root directory"""

    @classmethod
    def obstacles(cls, mount: Mount) -> Iterable[str]:
        """Reasons, seen from the line of mountinfo, why this one cannot be mounted anew."""
        return ()

    @classmethod
    def options(cls, mount: Mount, context: DumpContext) -> str:
        """mnt_entry.options: what mount(2) takes as data."""
        return mount.options

    @classmethod
    def dump(cls, mount: Mount, fd: int, context: DumpContext) -> None:
        """Write what is in the filesystem; `fd` is its root directory, with nothing mounted over any part of it."""

    @classmethod
    def premade(cls, entry: m.mnt_entry, mountpoints: list[str], context: RestoreContext) -> int | None:
        """Our descriptor of a detached mount, for what the root puppet cannot mount by mount(2) with the options.

        `mountpoints` are paths in it on which something is going to be mounted, "" for its root.
        """
        return None

    @classmethod
    def fill(cls, device: int, fd: int, context: RestoreContext) -> None:
        """Bring back what was in it, into the new filesystem whose root directory is `fd`."""


@cache
def filesystems() -> tuple[type[FilesystemResource], ...]:
    discover()
    return tuple(sorted(subclasses(FilesystemResource), key=lambda cls: cls.__name__))


def filesystem(name: str) -> type[FilesystemResource] | None:
    """The resource for a type's name in mountinfo."""
    return next((cls for cls in filesystems() if name in cls.names), None)


def filesystem_of_code(code: int) -> type[FilesystemResource] | None:
    """The resource for mnt_entry.fstype, of a type that has a number."""
    return next((cls for cls in filesystems() if cls.code == code != AUTO), None)
