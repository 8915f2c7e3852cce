"""The systemd cgroup driver: refused, with the reason."""

from __future__ import annotations

import os

from cgroups.errors import CgroupError

RUNNING = "/run/systemd/system"
"""sd_booted(3): this directory exists where systemd is init."""


def refuse(path: str) -> CgroupError:
    """The error for --systemd-cgroup with this cgroupsPath ("slice:prefix:name")."""
    if not os.path.isdir(RUNNING):
        why = f"this host's init is not systemd ({RUNNING} does not exist)"
    else:
        why = "only the cgroupfs driver is built in"
    return CgroupError(f"the systemd cgroup driver was asked for {path}, but {why}; run without --systemd-cgroup")
