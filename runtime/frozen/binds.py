"""What of a container stays outside of its images, and what takes its place on restore; pure.

Names in the images are those that runc gives them, so that either runtime restores the other's checkpoints:
a bind mount is named by its destination, a masked file "/dev/null", namespaces of others "extRootNetNS" and
"extRootPidNS".
"""

from __future__ import annotations

import os

from runtime.errors import ContainerError
from runtime.mount_options import is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cr.kernel.mountinfo import Mount
    from oci.types import Config
    from oci.types import Mount as ConfiguredMount
    from runtime.namespaces import Namespaces

    Resolve = Callable[[str], str]

NET_NAME = "extRootNetNS"
PID_NAME = "extRootPidNS"
_DEVICES = ("null", "random", "full", "tty", "zero", "urandom")


def cgroup_places(config: Config, cgroups: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(place in the container, host directory) of each bound cgroup directory; see init.mounting.

    On a pure v2 host with a cgroup namespace the mount is an ordinary cgroup2 mount to the engine.
    """
    places: list[tuple[str, str]] = []
    kinds = [n["type"] for n in (config.get("linux") or {}).get("namespaces") or []]
    for mount in config.get("mounts") or []:
        if mount.get("type") != "cgroup" or is_bind(mount):
            continue
        for name, directory in cgroups:
            if name:
                places.append((os.path.join(mount["destination"], name.removeprefix("name=")), directory))
            elif "cgroup" not in kinds:
                places.append((mount["destination"], directory))
    return places


def bind_places(config: Config) -> list[tuple[str, str]]:
    """(destination, host source) of each bind mount; relative sources count from the bundle, where we stand."""
    mounts = config.get("mounts") or []
    return [(os.path.normpath(m["destination"]), os.path.abspath(m.get("source", ""))) for m in mounts if is_bind(m)]


def brings_along(config: Config) -> bool:
    """Whether mounts below bind mounts are the host's as well.

    Only with a user namespace, in which most of them (as cgroup v1 below a bound /sys) could not be mounted anew.
    """
    kinds = [n["type"] for n in (config.get("linux") or {}).get("namespaces") or []]
    return "user" in kinds and any(_recursive(mount) for mount in config.get("mounts") or [])


def _recursive(mount: ConfiguredMount) -> bool:
    return is_bind(mount) and "rbind" in (mount.get("options") or [])


def below_binds(config: Config, host: Sequence[Mount]) -> list[tuple[str, Mount]]:
    """(place in the container, mount of the host) of what recursive bind mounts bring along."""
    found: list[tuple[str, Mount]] = []
    for mount in filter(_recursive, config.get("mounts") or []):
        source, place = os.path.realpath(mount.get("source", "")), os.path.normpath(mount["destination"])
        above = source.rstrip("/") + "/"
        found += [
            (os.path.join(place, below.mountpoint[len(above) :]), below)
            for below in host
            if below.mountpoint.startswith(above)
        ]
    return found


def carried_along(config: Config, host: Sequence[Mount], inside: Sequence[Mount]) -> list[tuple[str, str]]:
    """(place, host path) of those mounts below bind mounts that the container still has, and has not covered."""
    there = {mount.mountpoint: (mount.device, mount.root) for mount in inside}  # the last one at a place is on top
    pairs = below_binds(config, host)
    return [(place, m.mountpoint) for place, m in pairs if there.get(place) == (m.device, m.root)]


def device_places(config: Config) -> list[tuple[str, str]]:
    """Device files are bind mounts in a user namespace; elsewhere the engine finds no mount there."""
    own = [device["path"] for device in (config.get("linux") or {}).get("devices") or []]
    paths = [f"/dev/{name}" for name in _DEVICES]
    return [(path, path) for path in [*paths, *(p for p in own if p not in paths)]]


def dump_externals(
    config: Config, cgroups: Sequence[tuple[str, str]], masked_files: Sequence[str], resolve: Resolve = str
) -> list[str]:
    """--external for a dump: mnt[place]:name.  `resolve` follows the symlinks in a place of the container."""
    places = [resolve(place) for place, _ in [*cgroup_places(config, cgroups), *bind_places(config)]]
    rows = [f"mnt[{place}]:{place}" for place in places]
    rows += [f"mnt[{path}]:/dev/null" for path in masked_files]
    rows += [f"mnt[{path}]:{path}" for path, _ in device_places(config)]
    return rows


def restore_externals(config: Config, cgroups: Sequence[tuple[str, str]], resolve: Resolve = str) -> list[str]:
    """--external for a restore: mnt[name]:what takes its place."""
    mounts = [*cgroup_places(config, cgroups), *bind_places(config)]
    pairs = [*((resolve(place), source) for place, source in mounts), *mounts, *device_places(config)]
    rows = [f"mnt[{name}]:{source}" for name, source in pairs]
    return list(dict.fromkeys(rows))  # "/dev/null" stands for masked files and for the device


def dump_namespaces(spaces: Namespaces, inode: Callable[[str], int]) -> list[str]:
    """--external for a dump: namespaces that the configuration joins by path; `inode` of such a path."""
    rows = []
    for kind, short, name in (("network", "net", NET_NAME), ("pid", "pid", PID_NAME)):
        if kind in spaces.joined:
            rows.append(f"{short}[{inode(spaces.joined[kind])}]:{name}")
    return rows


def restore_namespaces(spaces: Namespaces, open_namespace: Callable[[str], int]) -> tuple[list[str], list[str]]:
    """(--inherit-fd, --join-ns) for a restore; `open_namespace` gives a descriptor of a path."""
    inherit, join = [], []
    named = {"network": NET_NAME, "pid": PID_NAME}
    for kind, path in spaces.joined.items():
        if kind in named:
            inherit.append(f"fd[{open_namespace(path)}]:{named[kind]}")
        elif kind in ("ipc", "uts", "time"):
            join.append(f"{kind}:{path}")
        elif kind != "cgroup":
            raise ContainerError(f"a container that joins the {kind} namespace {path} cannot be restored")
    return inherit, join


def cgroup_roots(paths: dict[str, str]) -> list[str]:
    """--cgroup-root for a restore: from {controllers: path as in /proc/pid/cgroup}."""
    return [f"{name}:{path}" for name, path in paths.items()]
