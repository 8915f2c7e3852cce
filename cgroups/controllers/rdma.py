"""rdma: handles and objects of RDMA devices; the files are the same on both versions.

Documentation/admin-guide/cgroup-v1/rdma.rst.
"""

from __future__ import annotations

from cgroups.controllers.base import Controller, Resources, limit_text, mapping, number
from cgroups.node import Node

WHERE = "linux.resources.rdma"


class Rdma(Controller):
    """RDMA devices."""

    section = "rdma"
    v1 = "rdma"
    v2 = "rdma"

    def apply(self, node: Node, resources: Resources) -> None:
        for device, limits in mapping(resources.get("rdma"), WHERE).items():
            wanted = mapping(limits, f"{WHERE}.{device}")
            words = []
            for key, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
                if (value := number(wanted, key, f"{WHERE}.{device}")) is not None:
                    words.append(f"{name}={limit_text(value)}")
            if words:
                node.write("rdma.max", " ".join([device, *words]))

    def read(self, node: Node) -> dict[str, object]:
        names = {"hca_handle": "hcaHandles", "hca_object": "hcaObjects"}
        table = node.nested("rdma.max")
        kept = {
            device: {names[key]: int(value) for key, value in row.items() if value != "max" and key in names}
            for device, row in table.items()
        }
        return {device: row for device, row in kept.items() if row}
