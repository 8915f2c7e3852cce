"""Who holds the userfaultfds besides the daemon, so that its death cannot leave tasks with wrong memory.

When the last copy of a userfaultfd is closed, the kernel takes missing pages for empty ones.  So a child of the daemon
has copies; when the daemon is killed, it poisons what has not come: tasks that touch it end by SIGBUS.
"""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import signal
import socket
import struct

from cr.lazy_pages.remaining import Remaining
from cr.lazy_pages.space import Space

_HEAD = struct.Struct("<iQ")
"""the daemon's number of a userfaultfd, and the bytes that follow: which pages are missing; 0: forget it"""


class Guard:
    """The daemon's end."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            self._ours.close()
            _watch(theirs)
        theirs.close()

    def hold(self, space: Space) -> None:
        """Have a copy of the userfaultfd of a space."""
        pieces = pickle.dumps([tuple(piece) for piece in space.remaining])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [space.fd]))]
        with contextlib.suppress(OSError):  # somebody killed it: then there is no net
            self._ours.sendmsg([_HEAD.pack(space.fd, len(pieces))], rights)
            self._ours.sendall(pieces)

    def forget(self, space: Space) -> None:
        """All pages are there, or nobody needs them: no copy of its userfaultfd shall stay."""
        with contextlib.suppress(OSError):
            self._ours.sendall(_HEAD.pack(space.fd, 0))
            self._ours.recv(1)

    def end(self) -> None:
        """The daemon has seen to everything itself."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._ours.close()


def _watch(daemon: socket.socket) -> None:
    """Never returns."""
    spaces: dict[int, Space] = {}
    os.closerange(3, daemon.fileno())  # whoever talks to the daemon shall notice when it dies
    os.closerange(daemon.fileno() + 1, 1 << 20)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                _hear(daemon, spaces)
        for space in spaces.values():
            space.give_up()
    finally:
        os._exit(0)


def _hear(daemon: socket.socket, spaces: dict[int, Space]) -> None:
    head, ancillary, _, _ = daemon.recvmsg(_HEAD.size, socket.CMSG_SPACE(4), socket.MSG_WAITALL)
    if len(head) < _HEAD.size:
        raise EOFError
    number, size = _HEAD.unpack(head)
    if not size:
        os.close(spaces.pop(number).fd)
        daemon.sendall(b".")
        return
    fds = array.array("i")
    fds.frombytes(ancillary[0][2][: fds.itemsize])
    data = daemon.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError
    spaces[number] = Space(0, fds[0], Remaining.of(pickle.loads(data)))
