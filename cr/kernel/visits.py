"""A short-lived process of ours that goes into other namespaces, does one thing there, and ends.

Some things only count when they are done inside: the next pid of a pid namespace, the maps of a user namespace below
another.  The interpreter's own process cannot go there, since the way back may be closed (setns(2)).
"""

from __future__ import annotations

import errno
import os

from cr.kernel.namespaces import CLONE_NEWPID, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_DONE = b"."
_MANY = 250  # descriptors of one message, at most 253
_ROOM = 1 << 18  # bytes of an answer


def ask(namespaces: list[tuple[int, int]], question: Callable[[], bytes]) -> bytes:
    """What `question()` gives in these namespaces: (descriptor, CLONE_NEW* flag) each, joined in this order.

    An OSError in there is one here.
    """
    return _visit(namespaces, lambda: (question(), []))[0]


def fetch(namespaces: list[tuple[int, int]], make: Callable[[], int]) -> int:
    """Our copy of the descriptor that `make()` gives in these namespaces."""
    return fetch_all(namespaces, lambda: [make()])[0]


def fetch_all(namespaces: list[tuple[int, int]], make: Callable[[], list[int]]) -> list[int]:
    """Our copies of the descriptors that `make()` gives in these namespaces, 250 at most."""
    found = _visit(namespaces, lambda: (b"", make()))[1]
    for fd in found:
        os.set_inheritable(fd, False)
    return found


def _visit(namespaces: list[tuple[int, int]], what: Callable[[], tuple[bytes, list[int]]]) -> tuple[bytes, list[int]]:
    import socket

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            _go(namespaces, what, theirs)
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        answer, descriptors, _, _ = socket.recv_fds(ours, _ROOM, _MANY)
    os.waitpid(child, 0)
    if answer.startswith(_DONE):
        return answer[1:], descriptors
    code, _, text = answer.partition(b" ")
    raise OSError(int(code or errno.ECHILD), text.decode(errors="replace"))


def _go(namespaces: list[tuple[int, int]], what: Callable[[], tuple[bytes, list[int]]], channel: socket.socket) -> None:
    """Only a child of who joins a pid namespace is in it."""
    import socket

    try:
        for fd, flag in namespaces:
            setns(fd, flag)
        if any(flag == CLONE_NEWPID for _, flag in namespaces):
            inner = os.fork()
            if inner:
                os.waitpid(inner, 0)
                return
        answer, descriptors = what()
        socket.send_fds(channel, [_DONE + answer], descriptors)
    except OSError as error:
        channel.send(f"{error.errno} {error.strerror}".encode())
