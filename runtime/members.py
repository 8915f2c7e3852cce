"""The processes of a container, where others may be in its cgroup: twins restored from one image share one."""

from __future__ import annotations

import os
import signal
import time

from cr.kernel import proc
from cr.kernel.namespaces import open_namespace, within
from runtime import cgroup
from runtime.container import Container
from runtime.errors import ContainerError
from runtime.store import Store, all_ids

PATIENCE = 1.0  # seconds in which a process on its way into the container is there
END_PATIENCE = 30.0  # seconds that a process which must end may take to: it needs a processor for that


def has_own_pids(container: Container) -> bool:
    """Whether it was given a pid namespace of its own: all that is in there ends with its init."""
    entries = (container.config.get("linux") or {}).get("namespaces") or []
    return any(entry["type"] == "pid" and not entry.get("path") for entry in entries)


def sharers(container: Container) -> list[Container]:
    """The other containers of the same root that are in this cgroup and have not ended."""
    root = os.path.dirname(container.store.directory)
    others = [_read(Store(root, name)) for name in all_ids(root) if name != container.id]
    return [other for other in others if other and _same_cgroup(other, container) and not other.ended()]


def _read(store: Store) -> Container | None:
    try:
        return Container(store, store.load())
    except ContainerError:
        return None  # it has been deleted meanwhile, or its record is damaged: nothing is known of it


def _same_cgroup(one: Container, other: Container) -> bool:
    return cgroup.places_of(one.record["cgroup"]) == cgroup.places_of(other.record["cgroup"])


def processes(container: Container) -> list[int]:
    """The pids in the cgroup that are the container's own, sorted.

    Without others that is everybody there.  Else the pid namespaces tell: of a container that has none of its
    own it is who is in none of the others' either, and nobody where two of them have none.
    """
    pids = container.manager().pids()
    others = sharers(container) if pids else []
    if not others:
        return pids
    if has_own_pids(container):
        return [pid for pid in pids if is_in_pids_of(pid, container)]
    if not all(has_own_pids(other) for other in others):
        return [pid for pid in pids if pid == container.pid and container.running()]
    return [pid for pid in pids if not any(is_in_pids_of(pid, other) for other in others)]


def is_in_pids_of(pid: int, container: Container) -> bool:
    """Whether a process is in the pid namespace of the container's init, or in one below."""
    try:
        with open_namespace(container.pid, "pid") as own, open_namespace(pid, "pid") as fd:
            return within(fd, os.fstat(own).st_ino) and container.running()
    except (FileNotFoundError, ProcessLookupError):
        return False  # one of them has ended


def end_rest(container: Container) -> None:
    """SIGKILL what outlives init: without a pid namespace of its own a container's other processes do.

    Raises CgroupError if some do not end.
    """
    if not has_own_pids(container) and processes(container):
        container.manager().kill(lambda: processes(container))


def remove_cgroup(container: Container) -> list[int]:
    """Remove the container's cgroup, unless others are in it, whose it is then.

    The pids of others that are no container's (0: one that we cannot see), for which it stays.  Raises CgroupError.
    """
    manager = container.manager()
    began = time.monotonic()
    while strangers := manager.occupants():
        if sharers(container):
            return []
        patience = END_PATIENCE if any(map(_must_end, strangers)) else PATIENCE
        if time.monotonic() > began + patience:
            return strangers
        time.sleep(0.01)
    manager.delete()
    return []


def _must_end(pid: int) -> bool:
    """Whether a process is about to end, or has a SIGKILL to take; of one that we cannot see (0) nobody knows."""
    if not pid:
        return False
    try:
        status = proc.status(pid)
        pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
        return bool(pending >> signal.SIGKILL - 1 & 1) or proc.stat(pid).is_ending
    except (FileNotFoundError, ProcessLookupError):
        return True
