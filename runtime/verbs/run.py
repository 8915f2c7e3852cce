"""run: create and start in one, and stay with the container unless told to detach."""

from __future__ import annotations

import os

from cr.kernel import prctl
from runtime.check import check_terminal
from runtime.create import Request, create, read_bundle
from runtime.delete import destroy, kill_init
from runtime.foreground import Foreground
from runtime.launch_options import CREATE, RUN
from runtime.options import Verb
from runtime.start import release, run_poststart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.context import Context
    from runtime.create import Created

VERB = Verb("run", "create and run a container", "<container-id>", options=CREATE + RUN)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Run the container; the exit code of its process, or 0 if detached."""
    request = Request(values)
    bundle, config = read_bundle(request)
    detach: bool = values["detach"]
    terminal = config["process"].get("terminal", False)
    check_terminal(terminal, request.console_socket, detach)
    if not detach and not values["no_subreaper"]:
        prctl.set_child_subreaper(True)
    with Foreground() as foreground:
        ours = _console(request, terminal, detach)
        created = create(context, arguments[0], request, bundle, config)
        if ours >= 0:
            from runtime.init.console import receive_master

            os.close(request.console)
            foreground.master = receive_master(ours)
        _begin(context, created)
        if detach:
            return 0
        status = foreground.wait(created.pid)
    if not values["keep"]:
        _remove(context, created)
    return status


def _console(request: Request, terminal: bool, detach: bool) -> int:
    """Where the master goes; our own end of a pair when we relay the terminal ourselves."""
    if not terminal:
        return -1
    from runtime.init import console

    if detach:
        request.console = console.connect(request.console_socket)
        return -1
    ours, theirs = console.pair()
    request.console, request.relayed = theirs, True
    return ours


def _begin(context: Context, created: Created) -> None:
    """Start it, and learn from the channel whether its exec succeeded."""
    try:
        release(created.container, context)
        created.channel.receive()
        run_poststart(created.container)
    except BaseException:
        _remove(context, created)
        raise
    created.container.store.forget_lock()


def _remove(context: Context, created: Created) -> None:
    if not created.container.store.exists():
        return  # a delete --force was faster
    kill_init(created.container)
    destroy(created.container, context.reporter)
