"""net_cls and net_prio: tags on outgoing packets; v1 only.

Documentation/admin-guide/cgroup-v1/net_cls.rst and net_prio.rst.
"""

from __future__ import annotations

from cgroups.controllers.base import Controller, Resources, mapping, number, objects
from cgroups.node import Node

WHERE = "linux.resources.network"


class NetCls(Controller):
    """The class id that tc and nftables see."""

    section = "network"
    keys = ("classID",)
    v1 = "net_cls"
    v2 = None

    def asked(self, resources: Resources) -> bool:
        return bool(number(mapping(resources.get("network"), WHERE), "classID", WHERE))

    def apply(self, node: Node, resources: Resources) -> None:
        if class_id := number(mapping(resources.get("network"), WHERE), "classID", WHERE):
            node.write("net_cls.classid", class_id)

    def read(self, node: Node) -> dict[str, object]:
        class_id = node.number("net_cls.classid")
        return {"classID": class_id} if class_id else {}


class NetPrio(Controller):
    """The priority of packets by interface."""

    section = "network"
    keys = ("priorities",)
    v1 = "net_prio"
    v2 = None

    def asked(self, resources: Resources) -> bool:
        return bool(mapping(resources.get("network"), WHERE).get("priorities"))

    def apply(self, node: Node, resources: Resources) -> None:
        section = mapping(resources.get("network"), WHERE)
        for entry in objects(section.get("priorities"), f"{WHERE}.priorities"):
            node.write("net_prio.ifpriomap", f"{entry.get('name')} {entry.get('priority')}")

    def read(self, node: Node) -> dict[str, object]:
        table = node.pairs("net_prio.ifpriomap")
        used = [{"name": name, "priority": priority} for name, priority in table.items() if priority]
        return {"priorities": used} if used else {}
