"""linux.resources.unified: files of a v2 cgroup by name, written as they are; last, so that they win."""

from __future__ import annotations

from cgroups.controllers.base import Controller, Resources, mapping
from cgroups.errors import CgroupError
from cgroups.node import Node

WHERE = "linux.resources.unified"


class Unified(Controller):
    """Anything that v2 has a file for."""

    section = "unified"
    v1 = None
    v2 = None
    rank = 10

    def apply(self, node: Node, resources: Resources) -> None:
        if node.version == 1:
            raise CgroupError(
                f"invalid configuration: {WHERE} is for cgroup v2, but {node.path} is v1; "
                "use the other members of linux.resources"
            )
        for name, value in mapping(resources.get("unified"), WHERE).items():
            if "/" in name or name in ("", ".", ".."):
                raise CgroupError(f"{WHERE} names {name!r}, which is not the name of a file in a cgroup")
            if not node.exists(name):
                controller = name.split(".", 1)[0]
                raise CgroupError(
                    f"invalid configuration: {WHERE} sets {name}, but controller {controller} is not available "
                    f"in {node.path}"
                )
            for line in str(value).splitlines():
                node.write(name, line)

    def read(self, node: Node) -> dict[str, object]:
        return {}
