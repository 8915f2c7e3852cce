"""Removing a cgroup with everything below it."""

from __future__ import annotations

import errno
import os

from cgroups.errors import from_os
from cgroups.node import read_ids, subtree
from cgroups.pause import Pause


def remove_tree(path: str, deadline: float = 10.0) -> None:
    """rmdir children first.  A cgroup that is gone is fine; a busy one is tried again until the deadline.

    EBUSY lasts for a moment after the last task's death.  Raises CgroupError that names the tasks in it.
    """
    pause = Pause(deadline)
    for directory in reversed(list(subtree(path))):
        while not _try(directory, pause):
            pause()


def _try(directory: str, pause: Pause) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError as err:
        if err.errno == errno.EBUSY and not pause.over():
            return False
        pids = " ".join(map(str, read_ids(directory, "cgroup.procs")))
        tasks = f" (tasks in it: {pids})" if pids else ""
        raise from_os(f"remove cgroup {directory}{tasks}", err) from err
    return True
