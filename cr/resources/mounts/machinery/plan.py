"""How mount namespaces come back, worked out from their images: pure, nothing is done here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.contract import plugins
from cr.contract.filesystem import AUTO, filesystem, filesystem_of_code
from cr.model import BadImages, CheckpointError
from cr.resources.mounts.machinery.external import AUTODETECTED, DEVICE, NO_ROOT, MountOptions, below
from cr.resources.mounts.machinery.groups import plan_groups
from cr.resources.mounts.machinery.nodes import MountPlan, Node, Source, walk

if TYPE_CHECKING:
    from images import messages as m


def make_plan(namespaces: dict[int, list[m.mnt_entry]], options: MountOptions, root: str) -> MountPlan:
    """The plan for namespaces given by their images (the root task's first); `root` is --root."""
    planner = _Planner(options, root)
    for entries in namespaces.values():
        _check(entries)
    planner.name_sources(namespaces)
    for ns_id, entries in namespaces.items():
        planner.add_namespace(ns_id, entries)
    planner.plan.groups = plan_groups(planner.plan.nodes)
    return planner.plan


def _check(entries: Iterable[m.mnt_entry]) -> None:
    for entry in entries:
        for path in (entry.mountpoint, entry.root):
            if path != NO_ROOT and ("\0" in path or ".." in path.split("/")):
                raise BadImages(f"the mount {entry.mountpoint} has a path that leads upwards: {path}")


class _Planner:
    def __init__(self, options: MountOptions, root: str) -> None:
        self.options, self.root = options, root
        self.plan = MountPlan()
        self._of_entry: dict[int, Source] = {}
        """mount id -> the source that is its own"""

    def _source(self, entry: m.mnt_entry, root: str) -> Source:
        source = Source(len(self.plan.sources), entry.root_dev, root)
        self.plan.sources.append(source)
        return source

    def name_sources(self, namespaces: dict[int, list[m.mnt_entry]]) -> None:
        """The sources that the user gives: root directory, external mounts, devices."""
        for index, entries in enumerate(namespaces.values()):
            for entry in entries:
                key = entry.root if entry.ext_mount else entry.ext_key
                if index == 0 and root_of(entries) is entry:
                    self._of_entry[entry.mnt_id] = self._root_source(entry)
                elif key == DEVICE or (not key and entry.source.startswith("dev[")):
                    self._of_entry[entry.mnt_id] = self._device_source(entry)
                elif key:
                    self._of_entry[entry.mnt_id] = self._external_source(entry, key)

    def _root_source(self, entry: m.mnt_entry) -> Source:
        if not self.root:
            raise CheckpointError(
                "the tasks have a mount namespace of their own: say with --root where its root file system is"
            )
        source = self._source(entry, entry.root)
        source.path, source.why = os.path.abspath(self.root), "--root PATH"
        return source

    def _external_source(self, entry: m.mnt_entry, key: str) -> Source:
        where = entry.mountpoint
        if key == AUTODETECTED:
            if not self.options.detect:
                raise CheckpointError(f"{where} was left outside as {entry.source}: allow that with --external mnt[]")
            path, why = entry.source, f"the host had it at {entry.source}"
        else:
            why = f"--external mnt[{key}]:PATH"
            found = self.options.named.get(key) or plugins.mount_path(key)
            if found is None:
                raise CheckpointError(f"{where} was left outside as {key}: say where it is with {why}")
            path = found
        for source in self.plan.sources:
            if source.path == _host_path(path) and source.device == entry.root_dev and source.root == entry.root:
                return source
        source = self._source(entry, "/" if entry.ext_mount else entry.root)
        source.path, source.why = _host_path(path), why
        return source

    def _device_source(self, entry: m.mnt_entry) -> Source:
        name = entry.source.removeprefix("dev[").removesuffix("]")
        if name not in self.options.devices:
            raise CheckpointError(f"{entry.mountpoint} is on device {name}: name one with --external dev[{name}]:FILE")
        for source in self.plan.sources:
            if source.device == entry.root_dev and source.device_file:
                return source
        source = self._source(entry, "/")
        source.fsname, source.device_file = entry.fsname, self.options.devices[name]
        source.options, source.sb_flags = entry.options, entry.sb_flags
        return source

    def add_namespace(self, ns_id: int, entries: list[m.mnt_entry]) -> None:
        nodes: dict[int, Node] = {}
        for entry in sorted(entries, key=lambda entry: entry.root != "/"):  # what is whole decides about options
            source = self._of_entry.get(entry.mnt_id)
            part: str | None = ""
            if source is None:
                source = self._find_source(entry)
                part = source.inside(entry.root)
            nodes[entry.mnt_id] = Node(entry, ns_id, source, part or "")
        root = nodes[root_of(entries).mnt_id]
        for entry in entries:
            if nodes[entry.mnt_id] is not root:
                _hang(nodes[entry.mnt_id], nodes.get(entry.parent_mnt_id))
        self.plan.roots[ns_id] = root
        self.plan.nodes += (nodes[entry.mnt_id] for entry in entries)
        if len(list(walk(root))) != len(entries):
            raise BadImages(f"mountpoints-{ns_id}.img has mounts that stand on each other in a circle")

    def _find_source(self, entry: m.mnt_entry) -> Source:
        for source in self.plan.sources:
            if source.device == entry.root_dev and source.inside(entry.root) is not None:
                return source
        resource = filesystem(entry.fsname) if entry.fstype == AUTO else filesystem_of_code(entry.fstype)
        fsname = entry.fsname if resource is None else resource.names[0]
        if not fsname:
            raise BadImages(f"mount {entry.mountpoint}: the images say nothing of what is mounted there")
        source = self._source(entry, "/")
        source.fsname, source.resource, source.device_file = fsname, resource, entry.source or "none"
        source.entry = entry
        source.options, source.sb_flags = entry.options, entry.sb_flags
        return source


def _host_path(path: str) -> str:
    """External mounts are named from the host's root directory on."""
    return os.path.normpath(os.path.join("/", path))


def _hang(node: Node, parent: Node | None) -> None:
    """Make a mount the child of the one that it stands on."""
    where = None if parent is None else below(node.entry.mountpoint, parent.entry.mountpoint)
    if parent is None or where is None:
        raise BadImages(f"the mount {node.entry.mountpoint} stands on no other mount of its namespace")
    node.parent, node.where = parent, where
    parent.children.append(node)


def root_of(entries: list[m.mnt_entry]) -> m.mnt_entry:
    """The root of a namespace: at "/", on nothing else."""
    ids = {entry.mnt_id for entry in entries}
    for entry in entries:
        if entry.mountpoint == "/" and entry.parent_mnt_id not in ids:
            return entry
    raise BadImages("a mount namespace has no root")
