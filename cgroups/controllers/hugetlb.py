"""hugetlb: huge pages, one set of files a page size.  Documentation/admin-guide/cgroup-v1/hugetlb.rst."""

from __future__ import annotations

import os

from cgroups.controllers.base import Controller, Resources, limit_text, number, objects
from cgroups.errors import CgroupError
from cgroups.node import Node
from cgroups.stats import HugetlbStats

WHERE = "linux.resources.hugepageLimits"
LIMIT = {1: "limit_in_bytes", 2: "max"}
USAGE = {1: "usage_in_bytes", 2: "current"}


def page_sizes(node: Node) -> list[str]:
    """The kernel's names of its huge page sizes ("2MB", "1GB")."""
    suffix = "." + LIMIT[node.version]
    names = os.listdir(node.path) if os.path.isdir(node.path) else []
    found = (name for name in names if name.startswith("hugetlb.") and name.endswith(suffix))
    middles = (name.removeprefix("hugetlb.").removesuffix(suffix) for name in found)
    return sorted(middle for middle in middles if not middle.endswith(".rsvd"))


class HugeTlb(Controller):
    """Huge pages."""

    section = "hugepageLimits"
    v1 = "hugetlb"
    v2 = "hugetlb"

    def apply(self, node: Node, resources: Resources) -> None:
        for entry in objects(resources.get("hugepageLimits"), WHERE):
            size, limit = str(entry.get("pageSize", "")), number(entry, "limit", WHERE) or 0
            if size not in page_sizes(node):
                known = ", ".join(page_sizes(node)) or "none"
                raise CgroupError(f"{WHERE} names page size {size!r}, but this kernel has: {known}")
            text = limit_text(limit) if node.version == 2 else str(limit)
            node.write(f"hugetlb.{size}.{LIMIT[node.version]}", text)
            # the reservation limit (Linux 5.7) makes mmap fail, instead of SIGBUS at the first touch
            node.write_if_there(f"hugetlb.{size}.rsvd.{LIMIT[node.version]}", text)

    def read(self, node: Node) -> dict[str, object]:
        limits = [(size, node.number(f"hugetlb.{size}.{LIMIT[node.version]}")) for size in page_sizes(node)]
        entries = [{"pageSize": s, "limit": n} for s, n in limits if n is not None and n < 2**62]
        return {"hugepageLimits": entries} if entries else {}

    def stats(self, node: Node) -> dict[str, HugetlbStats]:
        return {size: self._one(node, f"hugetlb.{size}.") for size in page_sizes(node)}

    def _one(self, node: Node, prefix: str) -> HugetlbStats:
        usage = node.number(prefix + USAGE[node.version]) or 0
        if node.version == 1:
            return HugetlbStats(usage, node.number(prefix + "max_usage_in_bytes"), node.number(prefix + "failcnt") or 0)
        return HugetlbStats(usage, None, node.pairs(prefix + "events").get("max", 0))
