"""Taking a container away: its processes, cgroup, mounts, hooks and record.  Can be repeated after a kill."""

from __future__ import annotations

import errno
import os
import time

from cr.kernel.mounts import MNT_DETACH, umount2
from runtime import cgroup, members
from runtime.errors import ContainerError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.container import Container
    from runtime.report import Reporter
    from runtime.store import Store

KILL_DEADLINE = 10.0
RESTORE_ROOT = "criu-root"


def kill_init(container: Container) -> None:
    """SIGKILL init and wait until it is gone (its pid namespace dies with it)."""
    if not container.running():
        return
    try:
        container.signal(9)
    except ContainerError:
        return  # it ended by itself
    thaw(container)
    deadline = time.monotonic() + KILL_DEADLINE
    while container.running():
        if time.monotonic() > deadline:
            raise ContainerError("container init still running")
        _reap(container.pid)
        time.sleep(0.002)


def thaw(container: Container) -> None:
    """A frozen task of cgroup v1 takes even SIGKILL only when it is thawed."""
    if cgroup.is_frozen(container.record["cgroup"]):
        container.manager().thaw()


def _reap(pid: int) -> None:
    """It may be our own child."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def destroy(container: Container, reporter: Reporter) -> None:
    """Remove everything of a container whose init has ended.  The caller holds the lock."""
    from cgroups import CgroupError

    try:
        members.end_rest(container)
        strangers = members.remove_cgroup(container)
    except CgroupError as err:
        raise ContainerError(f"unable to remove the cgroup of container {container.id}: {err}") from err
    if strangers:
        reporter.warn(f"the cgroup of container {container.id} stays: processes of others are in it: {strangers}")
    unmount_restore_root(container.store)
    try:
        container.run_hooks("poststop", "stopped")
    except ContainerError as err:
        reporter.warn(str(err))
    container.store.remove()


def unmount_restore_root(store: Store) -> None:
    """A restore binds the rootfs to a place in the state directory; EINVAL says that no mount is left there.

    The place goes too: an ordinary user may not even ask.
    """
    place = store.path(RESTORE_ROOT)
    while True:
        try:
            umount2(place, MNT_DETACH)
        except OSError as err:
            if err.errno == errno.ENOENT:
                return
            if err.errno == errno.EINVAL:
                os.rmdir(place)
                return
            raise ContainerError(f"cannot unmount {place}: {reason(err)}") from err
