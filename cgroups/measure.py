"""Putting the controllers' figures together."""

from __future__ import annotations

from collections.abc import Callable

from cgroups.controllers import Controller
from cgroups.controllers.blkio import BlockIO
from cgroups.controllers.cpu import Cpu, CpuAcct
from cgroups.controllers.hugetlb import HugeTlb
from cgroups.controllers.memory import Memory
from cgroups.controllers.pids import Pids
from cgroups.node import Node
from cgroups.stats import CpuStats, Stats
from values import replace


def measure(find: Callable[[Controller], Node | None]) -> Stats:
    """Ask every controller that measures; `find` gives its directory or None."""
    memory, pids, blkio, hugetlb = Memory(), Pids(), BlockIO(), HugeTlb()
    return Stats(
        cpu=_cpu(find),
        memory=memory.stats(node) if (node := _there(find, memory)) else None,
        pids=pids.stats(node) if (node := _there(find, pids)) else None,
        blkio=blkio.stats(node) if (node := _there(find, blkio)) else None,
        hugetlb=hugetlb.stats(node) if (node := _there(find, hugetlb)) else {},
    )


def _there(find: Callable[[Controller], Node | None], controller: Controller) -> Node | None:
    node = find(controller)
    return node if node is not None and node.exists() else None


def _cpu(find: Callable[[Controller], Node | None]) -> CpuStats | None:
    """v2 has all in cpu.stat; v1 has throttling in cpu and usage in cpuacct.

    cpu.stat is in every v2 cgroup, with or without the controller.
    """
    cpu, acct = Cpu(), CpuAcct()
    node, acct_node = _there(find, cpu), _there(find, acct)
    throttling = cpu.stats(node) if node else None
    if acct_node is None:
        return throttling
    usage = acct.stats(acct_node)
    if throttling is None:
        return usage
    return replace(
        usage,
        periods=throttling.periods,
        throttled_periods=throttling.throttled_periods,
        throttled_ns=throttling.throttled_ns,
    )
