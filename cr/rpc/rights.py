"""The rights of a client of the service: a process of ours takes them on for good before it reads a request.

From then on the kernel judges: ptrace(2), files, namespaces and signals are for this process what they are for the
client, so there is no rule of our own to get wrong.  One right is added, CAP_CHECKPOINT_RESTORE, without which nobody
but root could be served at all: it allows to choose pids and to see what a process of one's own has mapped.

What the client is now says little (it may have executed a set-user-ID program since), so user and groups are those
of connect(2), as the socket has kept them.  Only a client that was root gets more capabilities than that
one: those that its bounding set leaves it, if it lives in our user namespace.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import NamedTuple

from cr.kernel import capabilities, prctl, proc
from cr.model import CheckpointError
from cr.rpc.transport import Client

SO_PEERGROUPS, SO_PEERPIDFD = 59, 77
GRANTED = capabilities.as_set(["CAP_CHECKPOINT_RESTORE"])
_MOST_GROUPS = 256  # what Python's getsockopt has room for


def take_on(client: Client) -> None:
    """Become, in rights, what the client was when it connected.  CheckpointError where that cannot be known."""
    groups, known = _groups(client.sock), _look(client)
    kept = (known.bounding if client.uid == 0 and known.related else GRANTED) & capabilities.capget()[1]
    capabilities.drop_bounding(known.bounding | kept)
    prctl.set_keep_capabilities(True)
    os.setgroups(groups)
    os.setresgid(client.gid, client.gid, client.gid)
    os.setresuid(client.uid, client.uid, client.uid)
    capabilities.capset(kept, kept, kept)
    capabilities.set_ambient(0 if client.uid == 0 else kept)
    prctl.set_dumpable(True)  # or /proc/self were root's; ptrace(2) of us still takes all capabilities that we have


class _Known(NamedTuple):
    """What only /proc tells of a process: its bounding set, and whether it lives in our user namespace."""

    bounding: int
    related: bool


def _look(client: Client) -> _Known:
    pidfd = _pidfd(client.sock)
    try:
        bounding = int(proc.status(client.pid)["CapBnd"], 16)
        related = os.stat("/proc/self/ns/user").st_ino == os.stat(f"/proc/{client.pid}/ns/user").st_ino
    except (FileNotFoundError, ProcessLookupError) as error:
        raise CheckpointError(f"process {client.pid} connected, and has ended") from error
    if pidfd >= 0:
        _check_alive(pidfd, client.pid)
    return _Known(bounding, related)


def _pidfd(sock: socket.socket) -> int:
    """A pidfd of the process that connected; -1 where this kernel does not give one (before Linux 6.5)."""
    try:
        return sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:
        return -1


def _check_alive(pidfd: int, pid: int) -> None:
    """What was read of /proc was of this process, if it has not ended yet."""
    ended = select.select([pidfd], [], [], 0)[0]
    os.close(pidfd)
    if ended:
        raise CheckpointError(f"process {pid} connected, and has ended")


def _groups(sock: socket.socket) -> list[int]:
    try:
        content = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _MOST_GROUPS * 4)
    except OSError as error:
        raise CheckpointError(f"the groups of the client cannot be known: {error.strerror}") from error
    return [group for (group,) in struct.iter_unpack("I", content)]
