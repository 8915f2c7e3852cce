"""resume: resume all processes that have been paused, by the cgroup's freezer."""

from __future__ import annotations

from runtime.container import Container
from runtime.errors import ContainerError
from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb("resume", "resume all processes that have been paused", "<container-id>")


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Thaw it."""
    from cgroups import CgroupError

    container = Container.load(context, arguments[0], lock=True)
    if container.status() != "paused":
        raise ContainerError("container not paused")
    try:
        container.manager().thaw()
    except CgroupError as err:
        raise ContainerError(str(err)) from err
    return 0
