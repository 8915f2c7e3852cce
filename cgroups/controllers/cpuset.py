"""cpuset: processors and memory nodes.  cpuset(7), Documentation/admin-guide/cgroup-v1/cpusets.rst."""

from __future__ import annotations

import posixpath

from cgroups.controllers.base import Controller, Resources, mapping, set_values
from cgroups.node import Node


class CpuSet(Controller):
    """Which processors and memory nodes may be used."""

    section = "cpu"
    keys = ("cpus", "mems")
    v1 = "cpuset"
    v2 = "cpuset"

    def apply(self, node: Node, resources: Resources) -> None:
        section = mapping(resources.get("cpu"), "linux.resources.cpu")
        for key in self.keys:
            if value := section.get(key):
                node.write(f"cpuset.{key}", value)

    def read(self, node: Node) -> dict[str, object]:
        values = {key: node.read(f"cpuset.{key}") for key in self.keys if node.exists(f"cpuset.{key}")}
        return set_values(cpus=values.get("cpus") or None, mems=values.get("mems") or None)


def inherit(mountpoint: str, path: str) -> None:
    """Give every v1 cpuset from the mountpoint down to `path` that is empty the values of its parent.

    On v1 a new cpuset is empty, and no task may be attached to an empty one (ENOSPC).
    """
    parent = mountpoint
    for part in posixpath.relpath(path, mountpoint).split("/"):
        child = posixpath.join(parent, part)
        for name in ("cpuset.cpus", "cpuset.mems"):
            node = Node(child, 1)
            if not node.read(name).strip():
                node.write(name, Node(parent, 1).read(name))
        parent = child
