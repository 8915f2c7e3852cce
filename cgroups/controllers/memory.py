"""memory: limits, swap, reservation, OOM.

Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst "Memory"; OCI config-linux.md "Memory".
"""

from __future__ import annotations

from collections.abc import Mapping

from cgroups import spy
from cgroups.controllers.base import Controller, Resources, limit_text, mapping, number, set_values
from cgroups.errors import CgroupError
from cgroups.node import Node
from cgroups.stats import MemoryStats

WHERE = "linux.resources.memory"
UNLIMITED_V1 = 0x7FFF_FFFF_FFFF_F000
"""What v1 shows for "no limit": the largest number of whole pages in a signed 64-bit word."""


def _v1_limit(node: Node, name: str) -> int | None:
    value = node.number(name)
    return None if value is None or value >= UNLIMITED_V1 else value


class Memory(Controller):
    """RAM and swap."""

    section = "memory"
    keys = ("limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness", "disableOOMKiller")
    v1 = "memory"
    v2 = "memory"

    def asked(self, resources: Resources) -> bool:
        section = mapping(resources.get("memory"), WHERE)
        limits = [number(section, key, WHERE) or 0 for key in ("limit", "reservation", "swap", "kernelTCP")]
        swappiness = number(section, "swappiness", WHERE)
        return any(limit > 0 for limit in limits) or swappiness is not None or bool(section.get("disableOOMKiller"))

    def apply(self, node: Node, resources: Resources) -> None:
        section = mapping(resources.get("memory"), WHERE)
        self._check_usage(node, section)
        if node.version == 1:
            self._apply_v1(node, section)
        else:
            self._apply_v2(node, section)

    def _check_usage(self, node: Node, section: Mapping[str, object]) -> None:
        """checkBeforeUpdate: refuse a limit that is below what is in use."""
        limit = number(section, "limit", WHERE) or 0
        if not section.get("checkBeforeUpdate") or limit <= 0:
            return
        usage = node.number("memory.usage_in_bytes" if node.version == 1 else "memory.current") or 0
        if usage > limit:
            raise CgroupError(f"{WHERE}.limit of {limit} bytes is below the {usage} bytes in use in {node.path}")

    def _apply_v1(self, node: Node, section: Mapping[str, object]) -> None:
        self._limits_v1(node, number(section, "limit", WHERE) or 0, number(section, "swap", WHERE) or 0)
        if reservation := number(section, "reservation", WHERE):
            node.write("memory.soft_limit_in_bytes", reservation)
        if tcp := number(section, "kernelTCP", WHERE):
            node.write("memory.kmem.tcp.limit_in_bytes", tcp)
        if (swappiness := number(section, "swappiness", WHERE)) is not None:
            node.write("memory.swappiness", swappiness)
        if (disable := section.get("disableOOMKiller")) is not None and (disable or node.exists("memory.oom_control")):
            node.write("memory.oom_control", int(bool(disable)))

    def _limits_v1(self, node: Node, limit: int, swap: int) -> None:
        """Keep limit <= memsw.limit at every instant, which the kernel insists on."""
        if limit < 0 and not swap and node.exists("memory.memsw.limit_in_bytes"):
            swap = -1
        steps = [("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", swap)]
        current = _v1_limit(node, "memory.memsw.limit_in_bytes")
        grows = current is not None and (swap < 0 or swap > current)
        for name, value in reversed(steps) if grows else steps:
            if value:
                node.write(name, value)

    def _apply_v2(self, node: Node, section: Mapping[str, object]) -> None:
        if section.get("disableOOMKiller"):
            raise self.refuse("disableOOMKiller", node, "remove it")
        for key in ("swappiness", "kernelTCP"):
            if number(section, key, WHERE) is not None:
                raise self.refuse(key, node, "remove it")
        limit, swap = number(section, "limit", WHERE) or 0, number(section, "swap", WHERE) or 0
        if swap:
            # a host without swap accounting has no such file: "no limit" then needs none
            text = swap_to_v2(limit, swap)
            if text != "max" or node.exists("memory.swap.max"):
                node.write("memory.swap.max", text)
        if limit:
            node.write("memory.max", limit_text(limit))
        if reservation := number(section, "reservation", WHERE):
            node.write("memory.low", limit_text(reservation))

    def read(self, node: Node) -> dict[str, object]:
        if node.version == 1:
            return set_values(
                limit=_v1_limit(node, "memory.limit_in_bytes"),
                swap=_v1_limit(node, "memory.memsw.limit_in_bytes"),
                reservation=_v1_limit(node, "memory.soft_limit_in_bytes"),
                swappiness=node.number("memory.swappiness"),
                disableOOMKiller=True if node.pairs("memory.oom_control").get("oom_kill_disable") else None,
            )
        limit, swap = node.number("memory.max"), node.number("memory.swap.max")
        return set_values(
            limit=limit,
            swap=None if swap is None or limit is None else limit + swap,
            reservation=node.number("memory.low") or None,
        )

    def stats(self, node: Node) -> MemoryStats:
        return self._stats_v1(node) if node.version == 1 else self._stats_v2(node)

    def _stats_v1(self, node: Node) -> MemoryStats:
        controller = spy.memory(node.path)
        swapped = node.exists("memory.memsw.usage_in_bytes")
        return MemoryStats(
            usage=controller.usage_in_bytes or 0,
            peak=controller.max_usage_in_bytes,
            limit=_v1_limit(node, "memory.limit_in_bytes"),
            failures=controller.failcnt or 0,
            swap_usage=controller.memsw_usage_in_bytes if swapped else None,
            swap_limit=_v1_limit(node, "memory.memsw.limit_in_bytes"),
            oom_kills=node.pairs("memory.oom_control").get("oom_kill", 0),
            detail=controller.stat,
        )

    def _stats_v2(self, node: Node) -> MemoryStats:
        events = node.pairs("memory.events")
        return MemoryStats(
            usage=node.number("memory.current") or 0,
            peak=node.number("memory.peak"),
            limit=node.number("memory.max"),
            failures=events.get("max", 0),
            swap_usage=node.number("memory.swap.current"),
            swap_limit=node.number("memory.swap.max"),
            oom_kills=events.get("oom_kill", 0),
            detail=node.pairs("memory.stat"),
        )


def swap_to_v2(limit: int, swap: int) -> str:
    """OCI's swap is memory and swap together; v2 wants swap alone."""
    if swap < 0:
        return "max"
    if limit <= 0:
        raise CgroupError(f"{WHERE}.swap is {swap}, but {WHERE}.limit is not set; cgroup v2 needs both")
    if swap < limit:
        raise CgroupError(
            f"{WHERE}.swap of {swap} bytes is below {WHERE}.limit of {limit} bytes; it counts both together"
        )
    return str(swap - limit)
