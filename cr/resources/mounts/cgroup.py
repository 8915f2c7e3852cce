"""cgroup hierarchies (cgroups(7)); what is in them is the cgroup resource's matter."""

from __future__ import annotations

from cr.contract.filesystem import FilesystemResource


class Cgroup1(FilesystemResource):
    """A hierarchy of version 1: the options name its controllers."""

    names = ("cgroup",)
    code = 12
    everywhere = True


class Cgroup2(FilesystemResource):
    """The unified hierarchy."""

    names = ("cgroup2",)
    code = 23
    everywhere = True
