"""Killing every task of a cgroup: cgroup.kill (Linux 5.14, v2) or signals until none is left."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence

from cgroups.errors import CgroupError
from cgroups.node import Node
from cgroups.pause import Pause


def kill_all(paths: Sequence[str], pids: Callable[[], list[int]], thaw: Callable[[], None], deadline: float) -> None:
    """SIGKILL whatever `pids` lists until it lists nothing.

    Raises CgroupError with the pids that are left at the deadline (seconds), or if the caller is among them.
    """
    if os.getpid() in pids():
        raise CgroupError(f"the cgroup to be killed holds this very process (pid {os.getpid()})")
    for path in paths:  # whole cgroups
        Node(path, 2).write_if_there("cgroup.kill", 1)
    pause = Pause(deadline)
    while left := pids():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        thaw()
        if pause.over():
            raise CgroupError(
                f"tasks {left} are still there {deadline:g} s after SIGKILL; look for state D or a zombie"
            )
        pause()
