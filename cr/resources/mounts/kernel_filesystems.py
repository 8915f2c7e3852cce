"""Filesystems that the kernel fills by itself: mounting them anew is all there is to do."""

from __future__ import annotations

from cr.contract.filesystem import FilesystemResource


class Sysfs(FilesystemResource):
    """Documentation/filesystems/sysfs.rst."""

    names = ("sysfs",)
    code = 2
    everywhere = True
    shows = "net"


class Devtmpfs(FilesystemResource):
    """One instance for the whole machine: whatever was made in it belongs to the host."""

    names = ("devtmpfs",)
    code = 3
    everywhere = True


class Securityfs(FilesystemResource):
    names = ("securityfs",)
    code = 9
    everywhere = True


class Fusectl(FilesystemResource):
    names = ("fusectl",)
    code = 10
    everywhere = True


class Debugfs(FilesystemResource):
    names = ("debugfs",)
    code = 11
    everywhere = True


class Tracefs(FilesystemResource):
    names = ("tracefs",)
    code = 19
    everywhere = True
