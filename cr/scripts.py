"""Action scripts (--action-script): run at every notification point with CRTOOLS_* in the environment."""

from __future__ import annotations

import os
import subprocess

from cr.model import CheckpointError
from cr.options import Options

# Failures at these points come too late to undo anything; criu(8) says "must not fail" of them.
_ALWAYS_GO_ON = frozenset({"network-unlock", "post-resume"})


def run_scripts(options: Options, event: str, pid: int) -> None:
    """Run each script with sh -c; CheckpointError where one fails."""
    environment = os.environ | {
        "CRTOOLS_SCRIPT_ACTION": event,
        "CRTOOLS_IMAGE_DIR": os.path.realpath(options.images_dir),
    }
    if pid:
        environment["CRTOOLS_INIT_PID"] = str(pid)
    for script in options.action_script:
        status = subprocess.run(["sh", "-c", script], env=environment, stdin=subprocess.DEVNULL, check=False)
        if status.returncode and event not in _ALWAYS_GO_ON:
            raise CheckpointError(f"the action script {script!r} failed at {event} with status {status.returncode}")
