"""Which files of a cgroup are worth saving, and --cgroup-props that changes the choice.

The names may hold `*` (hugetlb has a set of files a page size).  Their order is the order of restoring: a
period comes before its quota, memory.limit_in_bytes before memsw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Literal

from cgroups.errors import CgroupError
from values import dataclass

Strategy = Literal["merge", "replace"]
PropertyList = Mapping[str, tuple[str, ...]]

GLOBAL_V1 = ("cgroup.clone_children", "notify_on_release", "cgroup.procs", "tasks")
GLOBAL_V2 = (
    "cgroup.type",
    "cgroup.subtree_control",
    "cgroup.max.descendants",
    "cgroup.max.depth",
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.freeze",
)
"""Kept in every directory of a hierarchy of that version."""

OWNER_ONLY = frozenset({"cgroup.procs", "tasks", "cgroup.threads"})
"""Files whose content is the tasks themselves: only mode and owner are kept (delegated cgroups need them)."""

LATE = frozenset({"freezer.state", "cgroup.freeze"})
"""Restored after the tasks are back, or they could not be built."""

DEFAULTS: PropertyList = {
    "cpu": (
        *("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us"),
        *("cpu.rt_period_us", "cpu.rt_runtime_us", "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle"),
        *("cpu.uclamp.min", "cpu.uclamp.max"),
    ),
    "cpuset": (
        *(
            "cpuset.cpus",
            "cpuset.mems",
            "cpuset.memory_migrate",
            "cpuset.cpu_exclusive",
            "cpuset.mem_exclusive",
        ),
        *("cpuset.mem_hardwall", "cpuset.memory_spread_page", "cpuset.memory_spread_slab"),
        *("cpuset.sched_load_balance", "cpuset.sched_relax_domain_level", "cpuset.cpus.partition"),
    ),
    "memory": (
        *(
            "memory.use_hierarchy",
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.swappiness",
        ),
        *("memory.soft_limit_in_bytes", "memory.move_charge_at_immigrate", "memory.oom_control"),
        *("memory.kmem.tcp.limit_in_bytes", "memory.min", "memory.low", "memory.high", "memory.max"),
        *(
            "memory.swap.high",
            "memory.swap.max",
            "memory.oom.group",
            "memory.zswap.max",
            "memory.zswap.writeback",
        ),
    ),
    "pids": ("pids.max",),
    "blkio": (
        *("blkio.weight", "blkio.leaf_weight", "blkio.bfq.weight", "blkio.throttle.read_bps_device"),
        *(
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_iops_device",
        ),
    ),
    "io": ("io.weight", "io.bfq.weight", "io.max", "io.latency"),
    "hugetlb": (*("hugetlb.*.limit_in_bytes", "hugetlb.*.rsvd.limit_in_bytes", "hugetlb.*.max", "hugetlb.*.rsvd.max"),),
    "devices": ("devices.list",),
    "net_cls": ("net_cls.classid",),
    "net_prio": ("net_prio.ifpriomap",),
    "rdma": ("rdma.max",),
    "misc": ("misc.max",),
    "freezer": ("freezer.state",),
}


@dataclass(frozen=True)
class ControllerSpec:
    """One controller of --cgroup-props."""

    controller: str
    strategy: Strategy
    properties: tuple[str, ...]


def parse_spec(text: str, source: str = "--cgroup-props") -> list[ControllerSpec]:
    """Read the YAML of --cgroup-props or its file (criu(8)).

    Each controller holds a list of one-entry objects, "strategy" and "properties" (one object is fine too).
    Raises CgroupError that names `source` and the controller.
    """
    import yaml

    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise CgroupError(f"{source} is not YAML: {' '.join(str(err).split())}") from err
    if not isinstance(tree, dict):
        raise CgroupError(f'{source} must hold controllers ("name": …) at its top')
    return [_controller_spec(str(name), value, source) for name, value in tree.items()]


def _controller_spec(name: str, value: object, source: str) -> ControllerSpec:
    parts = value if isinstance(value, list) else [value]
    fields: dict[str, object] = {}
    for part in parts:
        if not isinstance(part, dict):
            raise CgroupError(f'{source}: controller {name} must hold "strategy" and "properties"')
        fields.update(part)
    if unknown := sorted(str(key) for key in fields.keys() - {"strategy", "properties"}):
        raise CgroupError(f"{source}: controller {name} has unknown members: {', '.join(unknown)}")
    properties = fields.get("properties")
    if not isinstance(properties, list) or not all(isinstance(item, str) for item in properties):
        raise CgroupError(f'{source}: "properties" of controller {name} must be a list of file names')
    if bad := [item for item in properties if "/" in item or item in ("", ".", "..")]:
        raise CgroupError(f"{source}: controller {name} names {bad[0]!r}, which is not a file of a cgroup")
    return ControllerSpec(name, _strategy(fields.get("strategy"), name, source), tuple(properties))


def _strategy(value: object, name: str, source: str) -> Strategy:
    if value == "merge":
        return "merge"
    if value == "replace":
        return "replace"
    raise CgroupError(f'{source}: strategy of controller {name} is {value!r}; it must be "merge" or "replace"')


def choose(specs: Iterable[ControllerSpec] = (), ignore_default: bool = False) -> PropertyList:
    """The built-in list changed by --cgroup-props; with --cgroup-props-ignore-default only the specs."""
    chosen: dict[str, tuple[str, ...]] = {} if ignore_default else dict(DEFAULTS)
    for spec in specs:
        old = chosen.get(spec.controller, ()) if spec.strategy == "merge" else ()
        chosen[spec.controller] = old + tuple(name for name in spec.properties if name not in old)
    return chosen


def rank(name: str, patterns: Iterable[str]) -> int | None:
    """The place of a file in a list of patterns; None if it is not in it."""
    return next((place for place, pattern in enumerate(patterns) if _matches(name, pattern)), None)


def _matches(name: str, pattern: str) -> bool:
    """Few patterns have a wildcard, and the compilation of a pattern costs more than all comparisons."""
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else name == pattern
