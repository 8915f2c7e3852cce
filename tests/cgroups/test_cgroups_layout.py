"""Layouts from the texts of /proc."""

from __future__ import annotations

import pytest

from cgroups import hierarchies as cg

HYBRID = """\
23 1 0:20 / /proc rw - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:32 / /mnt/all\\040memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
"""


def test_a_mount_is_read_with_its_options_and_escapes() -> None:
    mounts = cg.parse_mounts(HYBRID)
    assert [m.mountpoint for m in mounts] == [
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/memory",
        "/mnt/all memory",
        "/sys/fs/cgroup/systemd",
    ]
    assert mounts[0].options == ("rw", "cpu", "cpuacct")
    assert mounts[1].root == "/docker/abc"


def test_the_widest_mount_of_a_hierarchy_counts() -> None:
    members = cg.parse_membership("9:name=systemd:/x\n4:memory:/docker/abc\n1:cpu,cpuacct:/a:b\n")
    layout = cg.build(cg.parse_mounts(HYBRID), members)
    assert layout.kind == "v1"
    memory = layout.holding("memory")
    assert memory is not None and (memory.mountpoint, memory.root) == ("/mnt/all memory", "/")
    cpu = layout.holding("cpuacct")
    assert cpu is not None and (cpu.name, cpu.own) == ("cpu,cpuacct", "/a:b")
    assert layout.named("cpuacct,cpu") is cpu
    assert layout.holding("name=systemd") is not None
    assert layout.holding("pids") is None


def test_a_path_is_mapped_through_the_mounts_root() -> None:
    hierarchy = cg.Hierarchy("memory", 1, ("memory",), "/m", "/docker/abc")
    assert hierarchy.directory("/docker/abc") == "/m"
    assert hierarchy.directory("/docker/abc/x/y") == "/m/x/y"
    with pytest.raises(cg.CgroupError, match="/docker/other lies outside of /docker/abc"):
        hierarchy.directory("/docker/other")


def test_a_deleted_cgroup_loses_its_mark() -> None:
    assert cg.parse_membership("0::/gone (deleted)\n") == {"": "/gone"}


def test_a_covered_mount_is_not_visible() -> None:
    assert not cg.is_visible(cg.Mount("0:99999", "/", "/", 2, ()))
    assert not cg.is_visible(cg.Mount("0:1", "/", "/no/such/place", 2, ()))


def test_this_task_has_a_membership() -> None:
    assert cg.membership("self")


def test_a_missing_task_is_named() -> None:
    with pytest.raises(cg.CgroupError, match="/proc/0/cgroup: no such file"):
        cg.membership(0)
