"""kill: a signal for init, or for all processes of a container."""

from __future__ import annotations

import os
import signal

from runtime import members
from runtime.checkpoints import CHECKPOINT
from runtime.container import Container
from runtime.delete import thaw
from runtime.errors import ContainerError
from runtime.options import Option, Verb
from runtime.signals import number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context

VERB = Verb(
    "kill",
    "send a signal (default: SIGTERM) to the container's init process",
    "<container-id> [signal]",
    maximum=2,
    options=(Option("all", "send the signal to all processes inside the container", "flag", short="a"),),
)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Send it; SIGKILL for a container without a pid namespace goes to all its processes."""
    container = Container.load(context, arguments[0])
    number = number_of(arguments[1] if len(arguments) > 1 else "TERM")
    if CHECKPOINT in container.annotations():
        from runtime.frozen.annotated import freeze_instead

        if freeze_instead(context, container, number):
            return 0
    if values["all"] or (number == signal.SIGKILL and not members.has_own_pids(container)):
        pids = members.processes(container)
        if not (pids or values["all"] or container.running()):
            raise ContainerError("container not running")
        for pid in pids:
            _send(pid, number)
    else:
        container.signal(number)
    if number == signal.SIGKILL:
        thaw(container)
    return 0


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
