"""The calls that a unix socket's peer remembers (SO_PEERCRED): socketpair(2), listen(2), connect(2).

Each is made as the process that made it once; where that cannot be, by ourselves.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from cr.contract.acting import Act, Actor, act
from cr.kernel import pidfd
from cr.kernel.sockets import lent

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext
    from cr.remote.program import Program, Result
    from cr.remote.tracee import Tracee


def pair(kind: int, maker: Actor | None, context: RestoreContext) -> tuple[int, int]:
    """Two sockets connected to each other; descriptors of ours."""
    made: list[int] = []
    numbers = []

    def fill(program: Program, slots: list[int]) -> Result:
        numbers.append(program.buffer(8))
        return program.call("socketpair", socket.AF_UNIX, kind, 0, numbers[0], may_fail=True)

    def fetch(puppet: Tracee) -> list[int]:
        theirs = list(struct.unpack("<ii", numbers[0].bytes))
        handle = pidfd.pidfd_open(puppet.tid)
        try:
            made.extend(pidfd.pidfd_getfd(handle, fd) for fd in theirs)
        finally:
            os.close(handle)
        return theirs

    if maker is not None and act(maker, Act([], fill, fetch), context):
        return made[0], made[1]
    one, other = socket.socketpair(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    return one.detach(), other.detach()


def listen(fd: int, backlog: int, listener: Actor | None, context: RestoreContext) -> None:
    """Let our socket listen."""
    what = Act([fd], lambda program, slots: program.call("listen", slots[0], backlog, may_fail=True))
    if listener is None or not act(listener, what, context):
        with lent(fd) as sock:
            sock.listen(backlog)


def connect(fd: int, address: bytes | str, client: Actor | None, context: RestoreContext) -> None:
    """Connect our socket to an abstract name, or to the file /proc/self/fd/N of ours.  OSError where that fails."""
    if client is not None and act(client, _connecting(fd, address), context):
        return
    with lent(fd) as sock:
        sock.connect(address)


def _connecting(fd: int, address: bytes | str) -> Act:
    file = [] if isinstance(address, bytes) else [int(address.rpartition("/")[2])]

    def fill(program: Program, slots: list[int]) -> Result:
        name = address if isinstance(address, bytes) else f"/proc/self/fd/{slots[1]}".encode()
        place = program.data(struct.pack("<H", socket.AF_UNIX) + name)
        return program.call("connect", slots[0], place, place.size, may_fail=True)

    return Act([fd, *file], fill)
