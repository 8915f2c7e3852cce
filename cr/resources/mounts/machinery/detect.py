"""--external mnt[]: find on the host what a container's mount shows (criu(8))."""

from __future__ import annotations

from cr.kernel.mountinfo import Mount
from cr.resources.mounts.machinery.external import MountOptions, below
from cr.values import dataclass


@dataclass(frozen=True)
class Match:
    """Where the host has the same; `problem` is why it may not be used all the same."""

    path: str
    related: bool
    """the mount is in the host's sharing group, or slave to it"""
    internal_sharing: bool
    """the mount shares with others, but not with the host's"""
    problem: str = ""


def find_match(mount: Mount, host: list[Mount], groups: set[int], options: MountOptions) -> Match | None:
    """The best of the host's mounts; `groups` are the sharing groups of the container."""
    same = [other for other in host if other.device == mount.device and below(mount.root, other.root) is not None]
    if not same:
        return None
    best = max(same, key=lambda other: (_related(mount, other), len(other.root)))
    inside = below(mount.root, best.root)
    path = best.mountpoint.rstrip("/") + (f"/{inside}" if inside else "")
    internal = bool(mount.shared) and mount.shared != best.shared
    return Match(path or "/", _related(mount, best), internal, _problem(mount, best, groups, options))


def _problem(mount: Mount, best: Mount, groups: set[int], options: MountOptions) -> str:
    if mount.shared and not options.sharing:
        return "it is shared: allow that with --enable-external-sharing"
    if mount.master and mount.master not in groups:
        if not _related(mount, best):
            return f"it is slave to a mount that is not here any more (master:{mount.master})"
        if not options.masters:
            return "it is slave to a mount of the host's: allow that with --enable-external-masters"
    return ""


def _related(mount: Mount, host: Mount) -> bool:
    if mount.shared and mount.shared == host.shared:
        return True
    return bool(mount.master) and mount.master in (host.shared, host.master)
