"""The starter configuration that `woodfrog spec` writes."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.types import Config, Mount

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MASKED = (
    "acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi",
)  # fmt: skip


def _mount(destination: str, fstype: str, source: str, options: str = "") -> Mount:
    entry: Mount = {"destination": destination, "type": fstype, "source": source}
    if options:
        entry["options"] = options.split(",")
    return entry


def _mounts(group: str) -> list[Mount]:
    return [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", f"nosuid,noexec,newinstance,ptmxmode=0666,mode=0620{group}"),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
    ]


def default_config(cgroup_namespace: bool = True) -> Config:
    """A shell on a terminal, in new namespaces, with few capabilities.

    A cgroup namespace belongs to hosts with pure cgroup v2; elsewhere engines do not expect one.
    """
    kinds = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if cgroup_namespace else [])]
    return {
        "ociVersion": "1.0.2-dev",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [_PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": list(_CAPABILITIES),
                "effective": list(_CAPABILITIES),
                "permitted": list(_CAPABILITIES),
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "woodfrog",
        "mounts": [
            *_mounts(",gid=5"),
            _mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": [*(f"/proc/{name}" for name in _MASKED), "/sys/firmware"],
            "readonlyPaths": [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")],
        },
    }


def rootless_config(cgroup_namespace: bool = True) -> Config:
    """The same for a user without privileges: a user namespace that maps the caller to root."""
    config = default_config(cgroup_namespace)
    linux = config["linux"]
    del linux["resources"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    # sysfs belongs to the network namespace, which stays the host's: bind the host's instead
    config["mounts"] = [
        *_mounts(""),
        _mount("/sys", "none", "/sys", "rbind,nosuid,noexec,nodev,ro"),
    ]
    return config
