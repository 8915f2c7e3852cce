"""Action scripts (--action-script): run at every notification point with CRTOOLS_* in the environment.

CRTOOLS_SCRIPT_ACTION   the notification point: pre-dump, post-dump, pre-restore, setup-namespaces, ...
CRTOOLS_IMAGE_DIR       the directory of the images, as an absolute path
CRTOOLS_INIT_PID        the pid of the root task as we see it, as soon as there is one
"""

from __future__ import annotations

import os

from cr import log
from cr.model import CheckpointError
from cr.options import Notify, Options

EVENTS = {
    "pre-dump": "before a dump begins",
    "network-lock": "when the network of the tasks is locked",
    "post-dump": "when the images of a dump are complete, the tasks still stand still",
    "status-ready": "when the pages of a dump with --lazy-pages can be fetched",
    "pre-restore": "before a restore begins",
    "setup-namespaces": "when there is a root task in its namespaces, which are empty still",
    "post-setup-namespaces": "when the namespaces are filled",
    "post-restore": "when everything is restored",
    "network-unlock": "when the network is unlocked; a failure is noted only",
    "pre-resume": "just before the tasks run",
    "post-resume": "when they run; a failure is noted only",
}
"""The notification points in their order, and when they are."""
_TOO_LATE = frozenset({"network-unlock", "post-resume"})
"""At these points nothing can be taken back any more."""
_RPC_ONLY = frozenset({"orphan-pts-master", "query-ext-files"})
"""What is handed over by a message has no script."""


def with_scripts(options: Options, notify: Notify | None) -> Notify | None:
    """The notification function that runs the action scripts first."""
    if not options.action_script:
        return notify
    root = options.tree

    def both(event: str, pid: int = 0, fd: int | None = None) -> None:
        nonlocal root
        root = pid or root
        if event not in _RPC_ONLY:
            run_scripts(options, event, root)
        if notify is not None:
            notify(event, pid, fd)

    return both


def run_scripts(options: Options, event: str, pid: int) -> None:
    """Run each script; CheckpointError where one fails, unless it is too late for that."""
    import subprocess

    environment = os.environ | {
        "CRTOOLS_SCRIPT_ACTION": event,
        "CRTOOLS_IMAGE_DIR": os.path.realpath(options.images_dir),
    }
    if pid:
        environment["CRTOOLS_INIT_PID"] = str(pid)
    for script in options.action_script:
        log.debug(f"running the action script {script} at {event}")
        status = subprocess.run(_command(script), env=environment, stdin=subprocess.DEVNULL, check=False).returncode
        if not status:
            continue
        sentence = f"the action script {script!r} failed at {event} with status {status}"
        if event not in _TOO_LATE:
            raise CheckpointError(sentence)
        log.warning(sentence)


def _command(script: str) -> list[str]:
    """A program by its path (which may hold blanks), or a line for the shell."""
    path = os.path.abspath(script)
    return [path] if os.path.isfile(path) and os.access(path, os.X_OK) else ["sh", "-c", script]
