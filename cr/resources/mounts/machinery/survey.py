"""What each mount of a container is, decided from /proc/PID/mountinfo and the options: pure, before any deed.

A mount is the container's root, external, a device, a bind of something that is there anyway, or a filesystem
that can be mounted anew.  What is none of these stands against a dump.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from cr.contract import plugins
from cr.contract.filesystem import FilesystemResource, filesystem
from cr.kernel.mountinfo import Mount
from cr.resources.mounts.machinery.detect import Match, find_match
from cr.resources.mounts.machinery.external import AUTODETECTED, MountOptions, below
from cr.values import dataclass, field, replace


class Kind(enum.Enum):
    """Where a mount comes from at restore."""

    ROOT = "the container's root, given with --root"
    EXTERNAL = "something of the host's"
    DEVICE = "a block device of the host's"
    BOUND = "a part of another mount"
    MADE = "a filesystem mounted anew"
    ENABLED = "a filesystem mounted anew because of --enable-fs"


@dataclass(frozen=True)
class Found:
    """A mount with what it is; `key` is the name of an external one."""

    mount: Mount
    ns_id: int
    kind: Kind
    key: str = ""
    internal_sharing: bool = False
    resource: type[FilesystemResource] | None = None

    def serves(self, other: Mount) -> bool:
        """Whether the other mount shows a part of what this one shows."""
        return self.mount.device == other.device and below(other.root, self.mount.root) is not None


@dataclass
class Survey:
    """All mount namespaces of a tree; the root task's is the first."""

    options: MountOptions
    host: list[Mount]
    """our own mounts, among which external ones are looked for"""
    found: dict[int, list[Found]] = field(default_factory=dict)
    obstacles: list[str] = field(default_factory=list)

    def look(self, namespaces: dict[int, list[Mount]]) -> None:
        """Decide for every mount of these namespaces."""
        kept = {ns_id: list(self._kept(mounts)) for ns_id, mounts in namespaces.items()}
        owner = {mount.id: ns_id for ns_id, mounts in kept.items() for mount in mounts}
        first = next(iter(kept), 0)
        known: dict[int, Found] = {}
        for ns_id, mounts in kept.items():
            for mount in mounts:
                given = self._named(mount, ns_id, mounts) if ns_id == first else None
                if given := given or self._device(mount, ns_id):
                    known[mount.id] = given
        everything = [mount for mounts in kept.values() for mount in mounts]
        served = list(known.values())
        for mount in sorted(everything, key=lambda mount: len(mount.root)):  # others may be parts of the widest
            if mount.id not in known:
                decided = self._decide(mount, owner[mount.id], served, everything)
                if decided is not None:
                    known[mount.id] = decided
                    served += [decided] if decided.kind is Kind.EXTERNAL else []
        for ns_id, mounts in kept.items():
            self.found[ns_id] = [known[mount.id] for mount in mounts if mount.id in known]
        self._check_sharing()

    def archived(self) -> Iterator[Mount]:
        """Those whose files are written into the images."""
        for table in self.found.values():
            for found in table:
                if found.kind is Kind.MADE and found.resource is not None and found.resource.has_content:
                    yield found.mount

    def _kept(self, mounts: list[Mount]) -> Iterator[Mount]:
        """Without those under --skip-mnt."""
        if not any(is_root(mount, mounts) for mount in mounts):
            self.obstacles.append("the root directory of the root task is no mount: it must be that of a container")
        skipped: set[int] = set()
        for mount in sorted(mounts, key=lambda mount: len(ancestors(mount, mounts))):
            if mount.mountpoint in self.options.skipped or mount.parent in skipped:
                skipped.add(mount.id)
        yield from (mount for mount in mounts if mount.id not in skipped)

    def _named(self, mount: Mount, ns_id: int, mounts: list[Mount]) -> Found | None:
        """The root, and what the user has named by its mountpoint, which means something in the root's namespace."""
        resource = filesystem(mount.fsname)
        if is_root(mount, mounts):
            return Found(mount, ns_id, Kind.ROOT, resource=resource)
        name = self.options.name_of(mount.mountpoint)
        return None if name is None else Found(mount, ns_id, Kind.EXTERNAL, name, resource=resource)

    def _device(self, mount: Mount, ns_id: int) -> Found | None:
        name = self.options.devices.get(mount.device_name.replace(":", "/"))
        if name is None or filesystem(mount.fsname) is not None or not mount.whole:
            return None
        return Found(replace(mount, source=f"dev[{name}]"), ns_id, Kind.DEVICE)

    def _decide(self, mount: Mount, ns_id: int, served: list[Found], everything: list[Mount]) -> Found | None:
        match = self._match(mount, everything)
        if match is not None and match.related and not match.problem:
            return _external(mount, ns_id, match)
        if any(other.serves(mount) for other in served):
            return Found(mount, ns_id, Kind.BOUND, resource=filesystem(mount.fsname))
        resource = filesystem(mount.fsname)
        whole = any(other.device == mount.device and other.whole for other in everything)
        if resource is not None and not mount.idmapped and (whole or resource.everywhere):
            self.obstacles += resource.obstacles(mount)
            return Found(mount, ns_id, Kind.MADE, resource=resource)
        if resource is None and whole and self.options.allows(mount.fsname):
            return Found(mount, ns_id, Kind.ENABLED)
        if match is not None and not match.problem:
            return _external(mount, ns_id, match)
        if (name := plugins.mount_name(mount)) is not None:
            return Found(mount, ns_id, Kind.EXTERNAL, name, resource=resource)
        return self._refuse(mount, match.problem if match else "")

    def _match(self, mount: Mount, everything: list[Mount]) -> Match | None:
        groups = {other.shared for other in everything}
        return find_match(mount, self.host, groups, self.options) if self.options.detect else None

    def _refuse(self, mount: Mount, why: str = "") -> Found | None:
        if not why:
            why = "it is idmapped" if mount.idmapped else _foreign(mount)
        self.obstacles.append(
            f"{mount} on device {mount.device_name} cannot be dumped: {why}; "
            f"leave it outside with --external mnt[{mount.mountpoint}]:NAME{_other_way(mount)}"
        )
        return None

    def _check_sharing(self) -> None:
        """A slave's master must be among the mounts, or the mount itself be the host's."""
        everything = [found for table in self.found.values() for found in table]
        groups = {found.mount.shared for found in everything}
        for found in everything:
            master = found.mount.master
            if master and master not in groups and found.kind not in (Kind.ROOT, Kind.EXTERNAL):
                self._refuse(found.mount, f"it is slave to a mount outside of the container (master:{master})")


def _foreign(mount: Mount) -> str:
    """Why a mount cannot be made anew: part of what is mounted nowhere inside, or of a type that no resource knows."""
    if filesystem(mount.fsname) is None and mount.whole and not mount.device >> 20:
        return f"what is in a {mount.fsname} is not saved"
    return "it comes from outside of the container"


def _other_way(mount: Mount) -> str:
    """What else can be done about a filesystem that is of no known type."""
    if filesystem(mount.fsname) is not None or not mount.whole:
        return ""
    if mount.device >> 20:
        return f", or have its device mounted with --external dev[{mount.device_name.replace(':', '/')}]:NAME"
    return f", or have it mounted anew with --enable-fs {mount.fsname}"


def is_root(mount: Mount, mounts: list[Mount]) -> bool:
    """Whether a mount is the root of its namespace: at "/", on nothing that is in the list."""
    return mount.mountpoint == "/" and all(other.id != mount.parent for other in mounts)


def ancestors(mount: Mount, mounts: list[Mount]) -> list[int]:
    """Ids of the mounts that a mount stands on, nearest first."""
    by_id = {other.id: other for other in mounts}
    found: list[int] = []
    while mount.parent in by_id and mount.parent not in found:
        mount = by_id[mount.parent]
        found.append(mount.id)
    return found


def _external(mount: Mount, ns_id: int, match: Match) -> Found:
    found = replace(mount, source=match.path)
    return Found(found, ns_id, Kind.EXTERNAL, AUTODETECTED, match.internal_sharing, filesystem(mount.fsname))
