"""Rings of io_uring(7) come to their tasks by pidfd_getfd(2): unix sockets do not take them (Linux 6.7).

The tasks get a pidfd of a process that has the ring, under the ring's number, and take the ring from there.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from cr.kernel.namespaces import CLONE_NEWUSER, setns
from cr.kernel.pidfd import pidfd_open
from cr.kernel.prctl import set_dumpable, set_parent_death_signal
from cr.kernel.proc import namespace_inode

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from cr.remote.program import Argument, Program, Result


def carrier(ring: int, context: RestoreContext) -> int:
    """Our pidfd of a process that has `ring`, one of our descriptors, under the same number."""
    root = context.root.puppet.tid
    if namespace_inode(root, "user") == namespace_inode("self", "user"):
        return context.once("carrier", lambda: context.keep(pidfd_open(os.getpid())))
    return context.once(("carrier", ring), lambda: _porter(root, context))


def take(program: Program, pidfd: Argument, ring: int) -> Result:
    """The call by which a puppet gets the ring; the new descriptor is close-on-exec."""
    return program.call("pidfd_getfd", pidfd, ring, 0, note="a ring of io_uring")


def _porter(root: int, context: RestoreContext) -> int:
    """A copy of us that is in the tasks' user namespace: they have no right to take anything from us."""
    namespace = os.open(f"/proc/{root}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _wait_inside(namespace, writing)
    os.close(writing)
    os.close(namespace)
    with os.fdopen(reading, "rb") as ready:
        ready.read(1)
    context.helpers.append(pid)
    context.at_end.append(partial(_dismiss, pid, context))
    return context.keep(pidfd_open(pid))


def _wait_inside(namespace: int, ready: int) -> NoReturn:
    try:
        set_parent_death_signal(signal.SIGKILL)
        setns(namespace, CLONE_NEWUSER)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        set_dumpable(True)
        os.write(ready, b".")
        os.close(ready)
        signal.pause()
    finally:
        os._exit(1)


def _dismiss(pid: int, context: RestoreContext) -> None:
    context.helpers.remove(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
