"""create: everything up to the container's program, which `start` lets go."""

from __future__ import annotations

from runtime.check import check_terminal
from runtime.create import Request, create, read_bundle
from runtime.launch_options import CREATE
from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb("create", "create a container", "<container-id>", options=CREATE)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Create the container and leave it waiting."""
    request = Request(values)
    bundle, config = read_bundle(request)
    terminal = config["process"].get("terminal", False)
    check_terminal(terminal, request.console_socket, True)
    if terminal:
        from runtime.init.console import connect

        request.console = connect(request.console_socket)
    create(context, arguments[0], request, bundle, config).channel.close()
    return 0
