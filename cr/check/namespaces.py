"""Namespaces, mounts, and security modules."""

from __future__ import annotations

import errno

from cr.check.feature import EXPERIMENTAL, Feature, calls, exists, lacking
from cr.kernel.mounts import MOVE_MOUNT_SET_GROUP


def _link_nsid() -> None:
    """Ask for the number of our own network namespace."""
    import os

    from netns.enter import open_netns
    from netns.rtnl import nsid_of
    from netns.wire import Socket

    fd = open_netns()
    try:
        with Socket() as sock:
            nsid_of(sock, fd)
    finally:
        os.close(fd)


def _apparmor_stacking() -> None:
    place = "/sys/kernel/security/apparmor/features/domain/stack"
    try:
        with open(place) as file:
            answer = file.read().strip()
    except OSError as error:
        raise lacking(f"AppArmor is not there ({place}: {error.strerror})") from error
    if answer != "yes":
        raise lacking("this kernel's AppArmor does not stack profiles")
    raise OSError(errno.EOPNOTSUPP, "policies of AppArmor namespaces do not go into our images; load them beforehand")


_KINDS = ("pid", "mnt", "net", "uts", "ipc", "user", "cgroup", "time")

FEATURES = (
    *(Feature(kind, exists(f"/proc/self/ns/{kind}")) for kind in _KINDS),
    Feature("timens", exists("/proc/self/ns/time")),
    Feature("cgroupns", exists("/proc/self/ns/cgroup")),
    Feature("userns", exists("/proc/self/ns/user")),
    Feature("external_net_ns", exists("/proc/self/ns/net")),
    Feature("external_pid_ns", exists("/proc/self/ns/pid_for_children")),
    Feature("nsid", _link_nsid),
    Feature("link_nsid", _link_nsid),
    Feature(
        "move_mount",
        calls("move_mount", -1, None, -1, None, 0, expected=(errno.EBADF, errno.EFAULT, errno.ENOENT)),
    ),
    # an unknown flag is EINVAL, a known one with descriptors that are none EBADF
    Feature(
        "move_mount_set_group",
        calls("move_mount", -1, b"x", -1, b"x", MOVE_MOUNT_SET_GROUP, expected=(errno.EBADF,)),
    ),
    Feature("apparmor_stacking", _apparmor_stacking, EXPERIMENTAL),
)
