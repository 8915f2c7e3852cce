"""Which cgroup hierarchies there are, where they are mounted, and where a task stands in them.

Sources: cgroups(7), proc_pid_mountinfo(5), Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import functools
import os
import posixpath

from cgroups.errors import CgroupError, from_os
from values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["v1", "v2", "hybrid"]


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy.

    `name` is its field in /proc/pid/cgroup: "memory", "cpu,cpuacct", "name=systemd", or "" for v2.
    `controllers` are the controllers that it holds; `root` is the cgroup that stands at `mountpoint`;
    `own` is the caller's cgroup in it.
    """

    name: str
    version: Literal[1, 2]
    controllers: tuple[str, ...]
    mountpoint: str
    root: str = "/"
    own: str = "/"

    def directory(self, path: str) -> str:
        """The directory of a cgroup given as in /proc/pid/cgroup (relative to the hierarchy's root)."""
        relative = posixpath.relpath(path, self.root)
        if relative == ".":
            return self.mountpoint
        if relative.startswith(".."):
            raise CgroupError(f"cgroup {path} lies outside of {self.root}, which is mounted at {self.mountpoint}")
        return posixpath.join(self.mountpoint, relative)

    def below_mount(self, path: str) -> str:
        """The directory of a cgroup given as a path below the mountpoint."""
        return posixpath.join(self.mountpoint, path.strip("/"))


@dataclass(frozen=True)
class Layout:
    """All mounted hierarchies; v1 in the order of mounting, v2 (if any) last."""

    kind: Kind
    hierarchies: tuple[Hierarchy, ...]

    def holding(self, controller: str) -> Hierarchy | None:
        """The hierarchy with this controller (or with this `name`), or None."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers or controller == hierarchy.name:
                return hierarchy
        return None

    def unified(self) -> Hierarchy | None:
        """The v2 hierarchy, or None."""
        return next((h for h in self.hierarchies if h.version == 2), None)

    def named(self, name: str) -> Hierarchy | None:
        """The hierarchy of this field of /proc/pid/cgroup; the order of co-mounted controllers is free."""
        wanted = set(name.split(","))
        return next((h for h in self.hierarchies if set(h.name.split(",")) == wanted), None)


def parse_membership(text: str) -> dict[str, str]:
    """Read /proc/pid/cgroup: {controller list as written there ("" for v2): path}."""
    members: dict[str, str] = {}
    for line in text.splitlines():
        _, name, path = line.split(":", 2)
        members[name] = path.removesuffix(" (deleted)")
    return members


def membership(pid: int | str, tid: int | None = None) -> dict[str, str]:
    """Where a task (or one thread of it) is: {controller list: path relative to the hierarchy's root}."""
    source = f"/proc/{pid}/cgroup" if tid is None else f"/proc/{pid}/task/{tid}/cgroup"
    try:
        with open(source) as stream:
            return parse_membership(stream.read())
    except OSError as err:
        raise from_os(f"read {source}", err) from err


@dataclass(frozen=True)
class Mount:
    """A cgroup line of mountinfo; `device` is "major:minor", `options` those of the superblock."""

    device: str
    root: str
    mountpoint: str
    version: Literal[1, 2]
    options: tuple[str, ...]


def _unescape(field: str) -> str:
    """Undo mountinfo's octal escapes for space, tab, newline and backslash."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, char)
    return field


def parse_mounts(text: str) -> list[Mount]:
    """The cgroup and cgroup2 mounts of a mountinfo text, in its order."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        dash = fields.index("-", 6)
        fstype = fields[dash + 1]
        if fstype in ("cgroup", "cgroup2"):
            version: Literal[1, 2] = 2 if fstype == "cgroup2" else 1
            options = tuple(fields[dash + 3].split(","))
            mounts.append(Mount(fields[2], _unescape(fields[3]), _unescape(fields[4]), version, options))
    return mounts


def is_visible(mount: Mount) -> bool:
    """False for a mount that a later one covers: its mountpoint then shows another device."""
    try:
        device = os.stat(mount.mountpoint).st_dev
    except OSError:
        return False
    return f"{os.major(device)}:{os.minor(device)}" == mount.device


def _hierarchy(mount: Mount, members: dict[str, str]) -> Hierarchy | None:
    """Match a mount with its line of /proc/self/cgroup; None if the kernel lists no such hierarchy."""
    if mount.version == 2:
        return Hierarchy("", 2, _v2_controllers(mount), mount.mountpoint, mount.root, members.get("", "/"))
    for name, own in members.items():
        if name and set(name.split(",")) <= set(mount.options):
            controllers = () if name.startswith("name=") else tuple(name.split(","))
            return Hierarchy(name, 1, controllers, mount.mountpoint, mount.root, own)
    return None


def _v2_controllers(mount: Mount) -> tuple[str, ...]:
    with open(posixpath.join(mount.mountpoint, "cgroup.controllers")) as stream:
        return tuple(stream.read().split())


def build(mounts: list[Mount], members: dict[str, str]) -> Layout:
    """Put mounts and memberships together; of several mounts of a hierarchy the widest one counts."""
    found: dict[str, Hierarchy] = {}
    for mount in mounts:
        hierarchy = _hierarchy(mount, members)
        if hierarchy is None:
            continue
        known = found.get(hierarchy.name)
        if known is None or len(hierarchy.root) < len(known.root):
            found[hierarchy.name] = hierarchy
    ordered = tuple(sorted(found.values(), key=lambda h: h.version))
    versions = {h.version for h in ordered}
    kind: Kind = "hybrid" if len(versions) == 2 else "v2" if versions == {2} else "v1"
    return Layout(kind, ordered)


def discover() -> Layout:
    """Look at /proc/self afresh; use this after entering another mount or cgroup namespace."""
    with open("/proc/self/mountinfo") as stream:
        mounts = [mount for mount in parse_mounts(stream.read()) if is_visible(mount)]
    return build(mounts, membership("self"))


@functools.cache
def layout() -> Layout:
    """The layout of this process, looked up once (`layout.cache_clear()` forgets it)."""
    return discover()
