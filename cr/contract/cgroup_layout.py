"""Where the cgroup hierarchies are reached: as mounted here, in --cgroup-yard, or by a mount that nobody else sees."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cr.values import replace

if TYPE_CHECKING:
    from cgroups.hierarchies import Hierarchy, Layout
    from cr.contract.restoring import RestoreContext

FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
UNIFIED = "unified"
"""Name of cgroup v2's directory in a yard."""


def layout_here(yard: str) -> Layout:
    """The mounted hierarchies; those that the yard has a directory of are reached there."""
    from cgroups.hierarchies import layout

    found = layout()
    if not yard:
        return found
    return replace(found, hierarchies=tuple(_in_yard(hierarchy, yard) for hierarchy in found.hierarchies))


def _in_yard(hierarchy: Hierarchy, yard: str) -> Hierarchy:
    path = os.path.join(os.path.abspath(yard), hierarchy.name.removeprefix("name=") or UNIFIED)
    return replace(hierarchy, mountpoint=path, root="/") if os.path.isdir(path) else hierarchy


def layout_with(names: Iterable[str], context: RestoreContext) -> Layout:
    """The same with the hierarchies of these names (of /proc/PID/cgroup), mounted for us where they are not."""
    found = layout_here(context.options.cgroup_yard)
    missing = [name for name in sorted(set(names)) if name and found.named(name) is None]
    mounted = [made for name in missing if (made := _mount(name, context)) is not None]
    return replace(found, hierarchies=(*found.hierarchies, *mounted))


def _mount(name: str, context: RestoreContext) -> Hierarchy | None:
    """A v1 hierarchy behind a descriptor of ours (fsmount(2)); None where the kernel has no such controllers."""
    from cgroups.hierarchies import Hierarchy
    from cr.kernel.mounts import fsconfig, fsmount, fsopen

    fs = fsopen("cgroup")
    try:
        if name.startswith("name="):
            fsconfig(fs, FSCONFIG_SET_FLAG, "none")
            fsconfig(fs, FSCONFIG_SET_STRING, "name", name.removeprefix("name="))
        else:
            for controller in name.split(","):
                fsconfig(fs, FSCONFIG_SET_FLAG, controller)
        fsconfig(fs, FSCONFIG_CMD_CREATE)
        fd = context.keep(fsmount(fs))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT, errno.EBUSY, errno.ENODEV):
            raise
        return None  # it stays missing, and is named as such if a task needs it
    finally:
        os.close(fs)
    controllers = () if name.startswith("name=") else tuple(name.split(","))
    return Hierarchy(name, 1, controllers, f"/proc/self/fd/{fd}")
