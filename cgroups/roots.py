"""--cgroup-root [controller:]/newroot: another place for the saved directories."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from cgroups.errors import CgroupError
from values import dataclass, field


@dataclass(frozen=True)
class Roots:
    """Roots by controller ("memory", "cpu,cpuacct", "name=systemd", "" for v2) and one for all others."""

    by_controller: dict[str, str] = field(default_factory=dict)
    default: str | None = None

    def of(self, name: str) -> str | None:
        """The root for a hierarchy by its field in /proc/pid/cgroup; None if it is to stay where it was."""
        if name in self.by_controller:
            return self.by_controller[name]
        for controller in name.split(","):
            if controller in self.by_controller:
                return self.by_controller[controller]
        return self.default


def parse_roots(texts: Iterable[str]) -> Roots:
    """Read the option's values, "/newroot" or "controller:/newroot".  Raises CgroupError."""
    by_controller: dict[str, str] = {}
    default: str | None = None
    for text in texts:
        controller, colon, path = text.rpartition(":")
        if not path.startswith("/"):
            raise CgroupError(f"--cgroup-root {text} must be [controller:]/newroot")
        if colon:
            by_controller[controller] = posixpath.normpath(path)
        else:
            default = posixpath.normpath(path)
    return Roots(by_controller, default)


def common_root(paths: Iterable[str]) -> str:
    """The deepest cgroup that holds all of these ("/" for none)."""
    known = list(paths)
    return posixpath.commonpath(known) if known else "/"


def replant(path: str, old: str, new: str | None) -> str:
    """Put a path below `old` below `new` instead; one outside of `old` stays where it is."""
    if new is None or not (path == old or path.startswith(old.rstrip("/") + "/")):
        return path
    rest = posixpath.relpath(path, old)
    return posixpath.normpath(posixpath.join(new, rest))
