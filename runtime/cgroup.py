"""The container's cgroup: from config.json to cgroups.Manager, and from state.json back to it.

A relative cgroupsPath counts from the cgroup of the command that creates the container.  Later commands may
run elsewhere, so the state keeps that starting point of each hierarchy.
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cgroups import Manager
    from oci.types import Config

# What every container may do with devices: make any node, use the harmless ones and terminals.
_DEFAULT_RULES: tuple[tuple[str, int, int, str], ...] = (
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 136, -1, "rwm"),
    ("c", 5, 2, "rwm"),
)


def path_of(config: Config, container: str, systemd: bool) -> str:
    """The path for the manager: linux.cgroupsPath, or the id, below the caller's own cgroup."""
    if systemd:
        if not os.path.isdir("/run/systemd/system"):
            raise ContainerError("systemd not running on this host, cannot use systemd cgroups manager")
        raise ContainerError("the systemd cgroups manager is not supported; leave out --systemd-cgroup")
    return (config.get("linux") or {}).get("cgroupsPath") or container


def new_manager(config: Config, container: str, systemd: bool, rootless: bool) -> Manager:
    """The manager of a container that is being created."""
    from cgroups import CgroupError, Manager

    try:
        return Manager(path_of(config, container, systemd), rootless=rootless)
    except CgroupError as err:
        raise ContainerError(str(err)) from err


def record(manager: Manager) -> dict[str, Any]:
    """What state.json keeps: the path, where it counts from, the directories, and which one freezes."""
    from cgroups import CgroupError

    try:
        freezer = manager.freezer_path()
    except CgroupError:
        freezer = ""
    return {
        "path": manager.path,
        "rootless": manager.rootless,
        "own": {hierarchy.name: hierarchy.own for hierarchy in manager.layout.hierarchies},
        "paths": manager.paths(),
        "freezer": freezer,
    }


def manager_of(recorded: dict[str, Any]) -> Manager:
    """The manager of a container that exists."""
    from cgroups import Layout, Manager, layout
    from values import replace

    now = layout()
    own: dict[str, str] = recorded["own"]
    hierarchies = tuple(replace(h, own=own.get(h.name, h.own)) for h in now.hierarchies)
    return Manager(recorded["path"], Layout(now.kind, hierarchies), recorded["rootless"])


def places_of(recorded: dict[str, Any]) -> dict[str, str]:
    """Its directories, by hierarchy."""
    paths: dict[str, str] = recorded["paths"]
    return paths


def is_frozen(recorded: dict[str, Any]) -> bool:
    """Whether the container is paused, read straight from the freezer's file (this is in every status)."""
    directory = recorded["freezer"]
    for name, frozen in (("freezer.state", ("FROZEN", "FREEZING")), ("cgroup.freeze", ("1",))):
        try:
            with open(os.path.join(directory, name)) as stream:
                return stream.read().strip() in frozen
        except OSError:
            continue  # the other version's file, or a cgroup that is gone
    return False


def resources_of(config: Config) -> dict[str, Any]:
    """linux.resources with the device rules that every container has after the configured ones."""
    linux = config.get("linux") or {}
    resources = dict(linux.get("resources") or {})
    rules: list[dict[str, Any]] = list(resources.get("devices") or [])
    if rules:
        rules += [_rule(*row) for row in _DEFAULT_RULES]
        resources["devices"] = rules
    return resources


def _rule(kind: str, major: int, minor: int, access: str) -> dict[str, Any]:
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


def for_mounts(manager: Manager) -> list[tuple[str, str]]:
    """(name, directory) of each cgroup to show in the container: the v1 ones, or the only one of v2."""
    paths = manager.paths()
    v1 = [(name, directory) for name, directory in paths.items() if name]
    return v1 or [("", directory) for directory in paths.values()]


def sub_manager(manager: Manager, place: str) -> Manager:
    """The manager of an existing sub-cgroup, given as "path" or "controller[,controller]:path"."""
    from cgroups import Layout, Manager

    names, colon, path = place.rpartition(":")
    if ".." in path.split("/"):
        raise ContainerError(f"bad sub cgroup path: {path} is not a sub cgroup path")
    wanted = [(name, manager.layout.holding(name)) for name in (names.split(",") if colon else ())]
    unknown = [name for name, hierarchy in wanted if hierarchy is None]
    if unknown:
        raise ContainerError(f"unknown controller {unknown[0]} in --cgroup {place}")
    held = [hierarchy for _, hierarchy in wanted]
    kept = tuple(h for h in manager.layout.hierarchies if not colon or h in held)
    sub = Manager(os.path.join(manager.path, path.strip("/")), Layout(manager.layout.kind, kept))
    for directory in sub.paths().values():
        if not os.path.isdir(directory):
            raise ContainerError(f"error adding pid to {directory}/cgroup.procs: no such file or directory")
    return sub


def membership_paths(manager: Manager) -> dict[str, str]:
    """{controllers: path as /proc/pid/cgroup of a task in it shows it}."""
    directories = manager.paths()
    return {
        h.name: os.path.join(h.root, os.path.relpath(directories[h.name], h.mountpoint))
        for h in manager.layout.hierarchies
        if h.name in directories
    }
