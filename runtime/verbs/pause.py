"""pause: suspend all processes inside the container, by the cgroup's freezer."""

from __future__ import annotations

import os

from runtime.container import Container
from runtime.errors import ContainerError
from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb("pause", "suspend all processes inside the container", "<container-id>")


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Freeze it."""
    from cgroups import CgroupError

    container = Container.load(context, arguments[0], lock=True)
    if container.status() not in ("running", "created"):
        raise ContainerError("container not running")
    if not os.path.isdir(container.record["cgroup"]["freezer"]):
        raise ContainerError(f"container {container.id} has no cgroup to be paused by: it was made without privileges")
    try:
        container.manager().freeze()
    except CgroupError as err:
        raise ContainerError(str(err)) from err
    return 0
