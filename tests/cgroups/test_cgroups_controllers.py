"""What is written for which limit, on directories of plain files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from cgroups import CgroupError, Manager
from cgroups import node as node_module
from cgroups.controllers import all_controllers
from cgroups.controllers.blkio import BlockIO, weight_to_io
from cgroups.controllers.cpu import Cpu, shares_to_weight, weight_to_shares
from cgroups.controllers.hugetlb import HugeTlb
from cgroups.controllers.memory import Memory, swap_to_v2
from cgroups.controllers.pids import Pids
from cgroups.controllers.rdma import Rdma
from cgroups.controllers.unified import Unified
from cgroups.hierarchies import Hierarchy, Layout
from cgroups.node import Node

Log = list[tuple[str, str]]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """Every write, as (file, value), in its order."""
    written: Log = []
    real = node_module.write_file

    def record(path: str, value: str) -> None:
        written.append((Path(path).name, value))
        real(path, "")  # a missing file is an error, as in a real cgroup
        Path(path).write_text(value)  # a cgroup file holds the last value only

    monkeypatch.setattr(node_module, "write_file", record)
    return written


def fake(path: Path, version: Literal[1, 2], **files: str) -> Node:
    """A directory with these files; `__` in a name stands for a dot."""
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return Node(str(path), version)


@pytest.mark.parametrize(("shares", "weight"), [(0, 0), (1, 1), (2, 1), (1024, 39), (262_144, 10_000), (10**6, 10_000)])
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert shares_to_weight(shares) == weight


def test_a_weight_becomes_shares_that_give_it_again() -> None:
    assert all(shares_to_weight(weight_to_shares(weight)) == weight for weight in range(1, 10_001))


def test_block_weights_span_both_scales() -> None:
    assert (weight_to_io(10), weight_to_io(100), weight_to_io(1000)) == (1, 910, 10_000)


def test_swap_of_v2_is_without_memory() -> None:
    assert swap_to_v2(100, 150) == "50"
    assert swap_to_v2(0, -1) == "max"
    with pytest.raises(CgroupError, match=r"memory\.limit is not set"):
        swap_to_v2(0, 100)
    with pytest.raises(CgroupError, match=r"below linux\.resources\.memory\.limit of 100"):
        swap_to_v2(100, 99)


def v1_memory(path: Path, memsw: str) -> Node:
    return fake(path, 1, memory__limit_in_bytes="0\n", memory__memsw__limit_in_bytes=memsw)


def test_memory_grows_from_the_sum_down(tmp_path: Path, log: Log) -> None:
    Memory().apply(v1_memory(tmp_path, "100\n"), {"memory": {"limit": 150, "swap": 200}})
    assert log == [("memory.memsw.limit_in_bytes", "200"), ("memory.limit_in_bytes", "150")]


def test_memory_shrinks_from_the_limit_up(tmp_path: Path, log: Log) -> None:
    Memory().apply(v1_memory(tmp_path, "1000\n"), {"memory": {"limit": 150, "swap": 200}})
    assert log == [("memory.limit_in_bytes", "150"), ("memory.memsw.limit_in_bytes", "200")]


def test_lifting_the_memory_limit_lifts_the_sum_first(tmp_path: Path, log: Log) -> None:
    Memory().apply(v1_memory(tmp_path, "1000\n"), {"memory": {"limit": -1}})
    assert log == [("memory.memsw.limit_in_bytes", "-1"), ("memory.limit_in_bytes", "-1")]


def test_memory_of_v2(tmp_path: Path, log: Log) -> None:
    node = fake(tmp_path, 2, memory__max="max\n", memory__swap__max="max\n", memory__low="0\n")
    Memory().apply(node, {"memory": {"limit": 300, "swap": 500, "reservation": 100, "disableOOMKiller": False}})
    assert log == [("memory.swap.max", "200"), ("memory.max", "300"), ("memory.low", "100")]
    assert Memory().read(node) == {"limit": 300, "swap": 500, "reservation": 100}


def test_a_limit_that_v2_cannot_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=r"memory\.swappiness cannot be kept by cgroup v2"):
        Memory().apply(fake(tmp_path, 2), {"memory": {"swappiness": 10}})
    with pytest.raises(CgroupError, match=r"cpu\.realtimeRuntime cannot be kept by cgroup v2"):
        Cpu().apply(fake(tmp_path, 2), {"cpu": {"realtimeRuntime": 10}})


def test_a_limit_below_the_usage_is_refused_if_wished(tmp_path: Path) -> None:
    node = fake(tmp_path, 2, memory__current="500\n", memory__max="max\n")
    with pytest.raises(CgroupError, match="limit of 400 bytes is below the 500 bytes in use"):
        Memory().apply(node, {"memory": {"limit": 400, "checkBeforeUpdate": True}})


def test_cpu_of_v2(tmp_path: Path, log: Log) -> None:
    node = fake(tmp_path, 2, cpu__weight="100\n", cpu__max="max 100000\n", cpu__idle="0\n")
    Cpu().apply(node, {"cpu": {"shares": 1024, "quota": 50_000}})
    Cpu().apply(node, {"cpu": {"quota": -1, "period": 20_000, "idle": 1}})
    assert log == [
        ("cpu.weight", "39"),
        ("cpu.max", "50000 100000"),
        ("cpu.max", "max 20000"),
        ("cpu.idle", "1"),
    ]


def test_cpu_of_v1_sets_the_period_before_the_quota(tmp_path: Path, log: Log) -> None:
    node = fake(tmp_path, 1, cpu__cfs_period_us="100000\n", cpu__cfs_quota_us="-1\n")
    Cpu().apply(node, {"cpu": {"quota": 5_000, "period": 10_000}})
    assert log == [("cpu.cfs_period_us", "10000"), ("cpu.cfs_quota_us", "5000")]
    assert Cpu().read(node) == {"quota": 5_000, "period": 10_000}


def test_block_rates_have_the_same_shape_on_both_versions(tmp_path: Path) -> None:
    rates = {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}]}
    v1 = fake(tmp_path, 1, blkio__throttle__read_bps_device="")
    v2 = fake(tmp_path, 2, io__max="", io__stat="8:0 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0\n")
    BlockIO().apply(v1, {"blockIO": rates})
    assert BlockIO().read(v1) == rates
    BlockIO().apply(v2, {"blockIO": rates})
    assert v2.read("io.max") == "8:0 rbps=1000"
    assert BlockIO().read(v2) == rates
    stats = BlockIO().stats(v2)
    assert [(e.op, e.value) for e in stats.bytes] == [("read", 5), ("write", 6), ("discard", 0)]
    assert [(e.op, e.value) for e in stats.requests] == [("read", 1), ("write", 2), ("discard", 0)]


def test_block_stats_of_v1_leave_the_sum_out(tmp_path: Path) -> None:
    text = "8:0 Read 5\n8:0 Total 5\nTotal 5\n"
    node = fake(tmp_path, 1, blkio__throttle__io_service_bytes=text, blkio__throttle__io_serviced="Total 0\n")
    stats = BlockIO().stats(node)
    assert [(e.major, e.minor, e.op, e.value) for e in stats.bytes] == [(8, 0, "read", 5), (8, 0, "total", 5)]
    assert stats.requests == ()


def test_a_weight_without_a_scheduler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="has no weight file"):
        BlockIO().apply(fake(tmp_path, 2), {"blockIO": {"weight": 100}})


def test_huge_pages(tmp_path: Path, log: Log) -> None:
    node = fake(tmp_path, 2, hugetlb__2MB__max="max\n", hugetlb__2MB__rsvd__max="max\n")
    HugeTlb().apply(node, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]})
    assert log == [("hugetlb.2MB.max", "4096"), ("hugetlb.2MB.rsvd.max", "4096")]
    assert HugeTlb().read(node) == {"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]}
    with pytest.raises(CgroupError, match="page size '3MB', but this kernel has: 2MB"):
        HugeTlb().apply(node, {"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]})


@pytest.mark.parametrize(("limit", "text"), [(7, "7"), (-1, "max"), (0, "5")])
def test_pids(tmp_path: Path, limit: int, text: str) -> None:
    node = fake(tmp_path, 1, pids__max="5")
    Pids().apply(node, {"pids": {"limit": limit}})
    assert node.read("pids.max") == text


def test_rdma(tmp_path: Path, log: Log) -> None:
    node = fake(tmp_path, 2, rdma__max="")
    Rdma().apply(node, {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": -1}}})
    assert log == [("rdma.max", "mlx5_1 hca_handle=3 hca_object=max")]
    assert Rdma().read(node) == {"mlx5_1": {"hcaHandles": 3}}


def test_unified_refuses_paths_and_missing_controllers(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="not the name of a file"):
        Unified().apply(fake(tmp_path, 2), {"unified": {"../x": "1"}})
    with pytest.raises(CgroupError, match=r"sets memory\.max, but controller memory is not available"):
        Unified().apply(fake(tmp_path, 2), {"unified": {"memory.max": "1"}})
    with pytest.raises(CgroupError, match="is for cgroup v2"):
        Unified().apply(fake(tmp_path, 1), {"unified": {"pids.max": "1"}})


def test_a_wrong_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=r"linux\.resources\.pids\.limit must be an integer, not '7'"):
        Pids().apply(fake(tmp_path, 1), {"pids": {"limit": "7"}})


def test_every_controller_is_found_and_unified_is_last() -> None:
    names = [type(c).__name__ for c in all_controllers()]
    assert len(names) == len(set(names)) == 12
    assert names[-1] == "Unified"


def empty_layout(path: Path) -> Layout:
    return Layout("v1", (Hierarchy("cpu", 1, ("cpu",), str(path)),))


@pytest.mark.parametrize(
    ("resources", "name"),
    [
        ({"memory": {"limit": 5}}, "memory"),
        ({"pids": {"limit": 5}}, "pids"),
        ({"network": {"classID": 5}}, "net_cls"),
        ({"cpu": {"cpus": "0"}}, "cpuset"),
        ({"devices": [{"allow": False}]}, "devices"),
    ],
)
def test_a_limit_without_its_controller_is_refused(tmp_path: Path, resources: dict[str, object], name: str) -> None:
    with pytest.raises(CgroupError, match=f"limit of the cgroup controller {name}, which this host"):
        Manager("/x", empty_layout(tmp_path)).apply(resources)


def test_no_limit_needs_no_controller(tmp_path: Path) -> None:
    nothing: dict[str, object] = {
        "memory": {"limit": 0, "disableOOMKiller": False},
        "pids": {"limit": -1},
        "network": {"classID": 0},
        "cpu": {"cpus": "", "mems": None},
        "devices": [],
    }
    Manager("/x", empty_layout(tmp_path)).apply(nothing)


@pytest.mark.parametrize("path", ["/", "", "/a/../b", "system.slice:woodfrog:x"])
def test_a_bad_path_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="cgroup path"):
        Manager(path, empty_layout(tmp_path))


def test_a_relative_path_counts_from_the_own_cgroup() -> None:
    v1 = Hierarchy("memory", 1, ("memory",), "/m", "/", "/me")
    v2 = Hierarchy("", 2, (), "/u", "/", "/user/me")
    manager = Manager("box/a", Layout("hybrid", (v1, v2)))
    assert manager.paths() == {"memory": "/m/me/box/a", "": "/u/user/box/a"}
