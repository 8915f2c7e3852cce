"""The namespaces that a container's process is in: new ones, of users, joined."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime.bundle import Bundle, inside, wait_for

pytestmark = pytest.mark.root


def test_hostname_sysctl_loopback_and_time(bundle: Bundle) -> None:
    bundle.namespaces("pid", "network", "ipc", "uts", "mount", "cgroup", "time")
    bundle.config.update(hostname="frog", domainname="pond")
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"}
    bundle.config["linux"]["timeOffsets"] = {"boottime": {"secs": 10_000_000}}
    out = inside(
        bundle,
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni;"
        "cat /sys/class/net/lo/flags; cut -d. -f1 /proc/uptime; cat /proc/self/cgroup",
    ).split()
    assert out[:5] == ["frog", "pond", "1", "77", "0x9"]
    assert int(out[5]) > 10_000_000
    assert all(line.endswith(":/") for line in out[6:])


def test_the_sysctl_of_the_domain_name_has_the_last_word(bundle: Bundle) -> None:
    """runc 1.5 allows both, whatever they say; crun refuses different names."""
    bundle.config["domainname"] = "pond"
    bundle.config["linux"]["sysctl"] = {"kernel.domainname": "lake"}
    assert inside(bundle, "cat /proc/sys/kernel/domainname") == "lake\n"


def test_a_user_namespace(bundle: Bundle, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and path != Path("/") and not path.stat().st_mode & 1:
            path.chmod(path.stat().st_mode | 0o11)
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    for path in (bundle.rootfs, *bundle.rootfs.iterdir()):
        os.chown(path, 200_000, 200_000, follow_symlinks=False)
    for kind in ("uidMappings", "gidMappings"):
        bundle.config["linux"][kind] = [{"containerID": 0, "hostID": 200_000, "size": 1000}]
    bundle.config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}
    out = inside(bundle, "cat /proc/self/uid_map; id -u; id -G; cat /proc/self/setgroups; echo > /dev/null && echo dev")
    assert out.split() == ["0", "200000", "1000", "5", "6", "7", "allow", "dev"]


def test_joined_namespaces(bundle: Bundle) -> None:
    holder = subprocess.Popen(
        ["unshare", "--uts", "--ipc", "--net", "sh", "-c", "hostname joined; read x"], stdin=subprocess.PIPE
    )
    try:
        uts = Path(f"/proc/{holder.pid}/ns/uts")
        wait_for(lambda: uts.readlink() != Path("/proc/self/ns/uts").readlink(), "unshare")
        wait_for(lambda: "joined" in _hostname_of(holder.pid), "the name")
        bundle.config.pop("hostname")
        bundle.config["linux"]["namespaces"] = [
            {"type": "mount"},
            {"type": "pid"},
            {"type": "uts", "path": str(uts)},
            {"type": "network", "path": f"/proc/{holder.pid}/ns/net"},
        ]
        out = inside(bundle, "hostname; readlink /proc/self/ns/net; echo $$").split()
        assert out == ["joined", str(Path(f"/proc/{holder.pid}/ns/net").readlink()), "1"]
        bundle.config["linux"]["namespaces"][-1]["path"] = "/proc/none/ns/net"
        assert "cannot open the namespace /proc/none/ns/net" in bundle.fails("run", bundle.id)
        bundle.config["linux"]["namespaces"][-1]["path"] = "/proc/self/ns/uts"
        assert "cannot join the namespace /proc/self/ns/uts" in bundle.fails("run", bundle.id)
    finally:
        holder.communicate()


def _hostname_of(pid: int) -> str:
    done = subprocess.run(["nsenter", "-t", str(pid), "-u", "hostname"], capture_output=True, text=True, check=False)
    return done.stdout
