"""cpu (and cpuacct): shares, bandwidth, real-time budget, usage.

Documentation/scheduler/sched-bwc.rst, sched-design-CFS.rst; cgroup-v2.rst "CPU".
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from cgroups import spy
from cgroups.controllers.base import Controller, Resources, mapping, number, set_values
from cgroups.errors import CgroupError
from cgroups.node import Node
from cgroups.stats import CpuStats

WHERE = "linux.resources.cpu"
DEFAULT_PERIOD = 100_000
BURST_V1 = "cpu.cfs_burst_us"


def shares_to_weight(shares: int) -> int:
    """cpu.shares (2..262144) to cpu.weight (1..10000), linearly, as runc's cgroup v2 document has it.

    0 means "not set" and stays 0.
    """
    if shares == 0:
        return 0
    clamped = min(max(shares, 2), 262_144)
    return 1 + ((clamped - 2) * 9999) // 262_142


def weight_to_shares(weight: int) -> int:
    """The other way round; the smallest shares that give this weight."""
    return 2 + -(-(weight - 1) * 262_142 // 9999)


def write_in_some_order(node: Node, todo: list[tuple[str, int]]) -> None:
    """Write files whose values are judged together: a quota against the period and the parent's share, a burst
    against the quota.  Which order keeps every step valid depends on the old values, so what the kernel refuses
    with EINVAL is tried again after the others.
    """
    while todo:
        refused: list[tuple[str, int]] = []
        error: CgroupError | None = None
        for file, value in todo:
            try:
                node.write(file, value)
            except CgroupError as err:
                if err.errno != errno.EINVAL:
                    raise
                refused.append((file, value))
                error = error or err
        if error is not None and len(refused) == len(todo):
            raise error
        todo = refused


class Cpu(Controller):
    """Time on processors."""

    section = "cpu"
    keys = ("shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "idle")
    v1 = "cpu"
    v2 = "cpu"

    def apply(self, node: Node, resources: Resources) -> None:
        section = mapping(resources.get("cpu"), WHERE)
        if node.version == 1:
            self._apply_v1(node, section)
        else:
            self._apply_v2(node, section)
        if (idle := number(section, "idle", WHERE)) is not None:
            node.write("cpu.idle", idle)

    def _apply_v1(self, node: Node, section: Mapping[str, object]) -> None:
        if shares := number(section, "shares", WHERE):
            node.write("cpu.shares", shares)
        files = (
            ("realtimePeriod", "cpu.rt_period_us"),
            ("realtimeRuntime", "cpu.rt_runtime_us"),
            ("period", "cpu.cfs_period_us"),
            ("quota", "cpu.cfs_quota_us"),
            ("burst", BURST_V1),
        )
        values = ((file, number(section, key, WHERE)) for key, file in files)
        chosen = [(file, value) for file, value in values if value or (value == 0 and file == BURST_V1)]
        write_in_some_order(node, chosen)

    def _apply_v2(self, node: Node, section: Mapping[str, object]) -> None:
        for key in ("realtimeRuntime", "realtimePeriod"):
            if number(section, key, WHERE):
                raise self.refuse(key, node, "remove it")
        if weight := shares_to_weight(number(section, "shares", WHERE) or 0):
            node.write("cpu.weight", weight)
        quota, period = number(section, "quota", WHERE), number(section, "period", WHERE)
        if quota or period:
            bandwidth = str(quota) if quota and quota > 0 else "max"
            node.write("cpu.max", f"{bandwidth} {period or DEFAULT_PERIOD}")
        if (burst := number(section, "burst", WHERE)) is not None:
            node.write("cpu.max.burst", burst)

    def read(self, node: Node) -> dict[str, object]:
        if node.version == 1:
            return set_values(
                shares=node.number("cpu.shares"),
                quota=node.number("cpu.cfs_quota_us"),
                period=node.number("cpu.cfs_period_us"),
                burst=node.number("cpu.cfs_burst_us") or None,
                idle=node.number("cpu.idle") or None,
            )
        weight = node.number("cpu.weight")
        quota, period = node.read("cpu.max").split() if node.exists("cpu.max") else ("max", "0")
        return set_values(
            shares=weight_to_shares(weight) if weight else None,
            quota=None if quota == "max" else int(quota),
            period=int(period) or None,
            burst=node.number("cpu.max.burst") or None,
            idle=node.number("cpu.idle") or None,
        )

    def stats(self, node: Node) -> CpuStats:
        """Usage and throttling; on v1 the usage itself is in cpuacct (see `CpuAcct`)."""
        if node.version == 1:
            stat: dict[str, int] = spy.cpu(node.path).stat
            return CpuStats(
                periods=stat.get("nr_periods", 0),
                throttled_periods=stat.get("nr_throttled", 0),
                throttled_ns=stat.get("throttled_time", 0),
            )
        stat = node.pairs("cpu.stat")
        return CpuStats(
            usage_ns=stat.get("usage_usec", 0) * 1000,
            user_ns=stat.get("user_usec", 0) * 1000,
            system_ns=stat.get("system_usec", 0) * 1000,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled_ns=stat.get("throttled_usec", 0) * 1000,
        )


class CpuAcct(Controller):
    """The v1 controller that only measures; nothing of config.json is its own."""

    section = "cpuacct"
    v1 = "cpuacct"
    v2 = None

    def asked(self, resources: Resources) -> bool:
        return False

    def apply(self, node: Node, resources: Resources) -> None:
        """Nothing can be set."""

    def read(self, node: Node) -> dict[str, object]:
        return {}

    def stats(self, node: Node) -> CpuStats:
        controller = spy.cpuacct(node.path)
        return CpuStats(
            usage_ns=controller.usage or 0,
            user_ns=node.number("cpuacct.usage_user") or 0,
            system_ns=node.number("cpuacct.usage_sys") or 0,
            per_cpu_ns=tuple(controller.usage_percpu),
        )
