"""restore: thaw a container from a checkpoint."""

from __future__ import annotations

import os

from cr.kernel import prctl
from runtime.delete import destroy, kill_init
from runtime.frozen.options import RESTORE, shared_options
from runtime.options import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci.types import Config
    from runtime.context import Context
    from runtime.frozen.thaw import Thaw

VERB = Verb("restore", "restore a container from a previous checkpoint", "<container-id>", options=RESTORE)


def run(context: Context, values: dict[str, Any], arguments: list[str]) -> int:
    """Restore it; the exit code of its process, or 0 if detached."""
    from runtime.create import Request, read_bundle
    from runtime.engine import choose
    from runtime.foreground import Foreground
    from runtime.frozen.freeze import image_directory
    from runtime.frozen.thaw import Thaw

    directory = image_directory(values, create=False)
    options = shared_options(values)
    request = Request({**values, "no_new_keyring": False, "preserve_fds": 0, "pidfd_socket": ""})
    bundle, config = read_bundle(request)
    detach: bool = values["detach"]
    if not detach and not values["no_subreaper"]:
        prctl.set_child_subreaper(True)
    with Foreground() as foreground:
        thaw = Thaw.of(context, arguments[0], bundle, config)
        thaw.pid_file = request.pid_file
        ours = _console(thaw, config, request.console_socket, detach)
        pid = thaw.run(choose(context.criu), directory, options)
        if detach:
            return 0
        if ours >= 0:
            foreground.master = _take_master(thaw, ours)
        thaw.container.store.forget_lock()
        status = foreground.wait(pid)
    if thaw.container.store.exists():
        kill_init(thaw.container)
        destroy(thaw.container, context.reporter)
    return status


def _console(thaw: Thaw, config: Config, path: str, detach: bool) -> int:
    """Where the terminal goes: to the socket at `path`, or to us; our own end then, else -1."""
    from runtime.check import check_terminal

    terminal = config["process"].get("terminal", False)
    check_terminal(terminal, path, detach)
    if not terminal:
        return -1
    from runtime.init import console

    if path:
        thaw.console = console.connect(path)
        return -1
    ours, thaw.console = console.pair()
    return ours


def _take_master(thaw: Thaw, ours: int) -> int:
    from runtime.init.console import receive_master

    os.close(thaw.console)
    return receive_master(ours)
