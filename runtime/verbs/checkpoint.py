"""checkpoint: freeze a running container into a directory of images."""

from __future__ import annotations

from runtime.container import Container
from runtime.delete import destroy, kill_init
from runtime.frozen.options import CHECKPOINT, dump_options
from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb("checkpoint", "checkpoint a running container", "<container-id>", options=CHECKPOINT)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Dump it; unless it runs on, the container is then deleted."""
    from runtime.engine import choose
    from runtime.frozen.freeze import check_parent, check_status, freeze, image_directory

    container = Container.load(context, arguments[0], lock=True)
    check_status(container)
    directory = image_directory(values, create=True)
    check_parent(directory, values["parent_path"])
    freeze(container, choose(context.criu), directory, dump_options(values))
    if not (values["leave_running"] or values["pre_dump"]):
        kill_init(container)
        destroy(container, context.reporter)
    return 0
