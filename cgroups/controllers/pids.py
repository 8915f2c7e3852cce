"""pids: how many tasks.  Documentation/admin-guide/cgroup-v1/pids.rst; the files are the same on v2."""

from __future__ import annotations

from cgroups.controllers.base import Controller, Resources, limit_text, mapping, number, set_values
from cgroups.node import Node
from cgroups.stats import PidsStats

WHERE = "linux.resources.pids"


class Pids(Controller):
    """The number of tasks."""

    section = "pids"
    v1 = "pids"
    v2 = "pids"

    def asked(self, resources: Resources) -> bool:
        """0 and null mean "not set", as runc has it; negative means no limit, which every kernel can keep."""
        limit = number(mapping(resources.get("pids"), WHERE), "limit", WHERE)
        return limit is not None and limit > 0

    def apply(self, node: Node, resources: Resources) -> None:
        limit = number(mapping(resources.get("pids"), WHERE), "limit", WHERE)
        if limit:
            node.write("pids.max", limit_text(limit))

    def read(self, node: Node) -> dict[str, object]:
        return set_values(limit=node.number("pids.max"))

    def stats(self, node: Node) -> PidsStats:
        return PidsStats(node.number("pids.current") or 0, node.number("pids.max"))
