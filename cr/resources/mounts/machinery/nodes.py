"""What a mount namespace is planned with.

Source   one filesystem, or one directory of the host's, of which everything shown is a part
Group    mounts that share mount and unmount events, or receive those of another group
Node     one mount: which part of which source, where in which other mount
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract.filesystem import FilesystemResource
from cr.resources.mounts.machinery.external import below
from cr.values import dataclass, field

if TYPE_CHECKING:
    from images import messages as m


@dataclass(eq=False)
class Source:
    """Where mounts are taken from.  `path` is the host's, for a source that exists already; else it is mounted anew."""

    number: int
    device: int
    root: str
    """which part of the filesystem it shows"""
    path: str | None = None
    why: str = ""
    """how the user can name another path"""
    fsname: str = ""
    device_file: str = ""
    options: str = ""
    sb_flags: int = 0
    resource: type[FilesystemResource] | None = None
    entry: m.mnt_entry | None = None
    """the mount that says what is mounted anew"""

    @property
    def name(self) -> str:
        return f"s{self.number}"

    @property
    def last(self) -> bool:
        return self.resource is not None and self.resource.last

    @property
    def writable_first(self) -> bool:
        """Whether it must take its old content before it may become read-only."""
        return self.resource is not None and self.resource.has_content

    @property
    def triggers(self) -> bool:
        return self.resource is not None and self.resource.triggers

    def inside(self, root: str) -> str | None:
        return below(root, self.root)


@dataclass(eq=False)
class Group:
    """Mounts of one source with the same shared_id and master_id."""

    number: int
    source: Source
    shared: int
    master: int
    outside: bool = False
    """shared with the host, or slave to a mount of the host's"""
    peer: Group | None = None
    """the same group as it is made for another source"""
    master_group: Group | None = None

    @property
    def name(self) -> str:
        return f"g{self.number}"


@dataclass(eq=False)
class Node:
    """A mount to be."""

    entry: m.mnt_entry
    ns_id: int
    source: Source
    part: str
    """path inside of the source"""
    parent: Node | None = None
    where: str = ""
    """path inside of the parent"""
    children: list[Node] = field(default_factory=list)
    group: Group | None = None

    def __str__(self) -> str:
        return f"mount {self.entry.mountpoint}"


@dataclass
class MountPlan:
    """All namespaces of a tree."""

    roots: dict[int, Node] = field(default_factory=dict)
    """namespace id -> its root; the root task's comes first"""
    nodes: list[Node] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    """masters before their slaves"""

    def mountpoints(self, source: Source) -> list[str]:
        """Paths in a source on which something else is mounted, "" for its root."""
        children = [node for node in self.nodes if node.parent is not None and node.parent.source is source]
        return sorted({f"{node.parent.part}/{node.where}".strip("/") for node in children if node.parent is not None})


def walk(node: Node) -> Iterable[Node]:
    """A mount and all on it in the order of mounting: deep mountpoints first, since the others may hide them."""
    waiting = [node]
    while waiting:
        node = waiting.pop(0)
        yield node
        node.children.sort(key=lambda child: -child.where.count("/") if child.where else 1)
        waiting = node.children + waiting
