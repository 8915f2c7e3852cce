"""state: the container's state as JSON."""

from __future__ import annotations

import json

from runtime.container import Container
from runtime.options import Verb
from runtime.view import summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb("state", "output the state of a container", "<container-id>")


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Print it."""
    print(json.dumps(summary(Container.load(context, arguments[0])), indent=2))
    return 0
