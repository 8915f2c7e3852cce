"""start: let a created container's program begin."""

from __future__ import annotations

from runtime.container import Container
from runtime.options import Verb
from runtime.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb("start", "execute the user defined process in a created container", "<container-id>")


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Start the container."""
    start(Container.load(context, arguments[0], lock=True), context)
    return 0
