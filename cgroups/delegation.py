"""Handing the controllers of a v2 cgroup down to its children (cgroups(7), cgroup.subtree_control)."""

from __future__ import annotations

import errno

from cgroups.errors import CgroupError
from cgroups.node import Node


def enable_controllers(path: str) -> None:
    """Hand every controller of this v2 cgroup to its children, one by one.

    One that cannot be handed down (tasks in the way, no right) is left out here: a limit that needs it then
    fails with a sentence that names it.
    """
    node = Node(path, 2)
    missing = set(node.read("cgroup.controllers").split()) - set(node.read("cgroup.subtree_control").split())
    for controller in sorted(missing):
        try:
            node.write("cgroup.subtree_control", f"+{controller}")
        except CgroupError as err:
            if err.errno not in (
                errno.EBUSY,
                errno.EACCES,
                errno.EPERM,
                errno.ENOENT,
                errno.EROFS,
                errno.EOPNOTSUPP,
            ):
                raise
