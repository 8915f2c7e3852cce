"""How much more memory a task's cgroups let it have."""

from __future__ import annotations

import os
import posixpath

from cgroups.hierarchies import layout, membership
from cgroups.node import Node

_FILES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}
_CACHE = {1: ("total_inactive_file", "total_active_file"), 2: ("inactive_file", "active_file")}


def headroom(pid: int) -> int | None:
    """Bytes until the first limit on the way to the root, page cache not counted; None where there is no limit.

    Documentation/admin-guide/cgroup-v1/memory.rst, Documentation/admin-guide/cgroup-v2.rst (memory).
    """
    hierarchy = layout().holding("memory")
    if hierarchy is None:
        return None
    directory = hierarchy.directory(membership(pid).get(hierarchy.name, hierarchy.root))
    found: list[int] = []
    while directory.startswith(hierarchy.mountpoint):
        left = _left(Node(directory, hierarchy.version))
        found += [] if left is None else [left]
        directory = posixpath.dirname(directory)
    return min(found, default=None)


def _left(node: Node) -> int | None:
    limit_name, usage_name = _FILES[node.version]
    limit, usage = node.number(limit_name), node.number(usage_name)
    if limit is None or usage is None or limit > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        return None
    counts = node.pairs("memory.stat")
    return limit - usage + sum(counts.get(name, 0) for name in _CACHE[node.version])
