"""What must be taken back outside of the tasks, even when we are killed in the middle.

A file linked back, a cgroup made, a network locked: each is remembered by a small child process, which does
the undoing when we die without saying that all went well.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from typing import NoReturn

Action = Callable[[], object]


class Undo:
    """Actions that take something back, last first.

    An action must survive pickling: `functools.partial(os.unlink, path)` does, a lambda does not.
    """

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self._channel: socket.socket | None = None
        self._janitor = 0

    def append(self, action: Action) -> None:
        """Remember what to do if this fails; call it right after (or, where that is safe, before) the deed."""
        content = pickle.dumps(action)
        self._actions.append(action)
        if self._channel is None:
            self._start()
        assert self._channel is not None
        self._channel.sendall(struct.pack("<I", len(content)) + content)

    def __len__(self) -> int:
        return len(self._actions)

    def forget(self) -> None:
        """All went well: nothing is undone."""
        self._actions.clear()
        self._dismiss()

    def run(self) -> list[OSError]:
        """Undo everything now; what cannot be undone is returned."""
        problems = list(_undo(self._actions))
        self._actions.clear()
        self._dismiss()
        return problems

    def _dismiss(self) -> None:
        if self._channel is None:
            return
        self._channel.sendall(struct.pack("<I", 0))
        self._channel.close()
        self._channel = None
        os.waitpid(self._janitor, 0)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._janitor = os.fork()
        if self._janitor == 0:
            _wait_and_clean(theirs.detach())
        theirs.close()
        self._channel = ours


def _undo(actions: list[Action]) -> Iterator[OSError]:
    for action in reversed(actions):
        try:
            action()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it is gone already
        except OSError as error:
            yield error


def _wait_and_clean(channel: int) -> NoReturn:
    """The janitor: nothing but an empty message makes it go without cleaning."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        os.closerange(3, channel)
        os.closerange(channel + 1, os.sysconf("SC_OPEN_MAX"))
        with os.fdopen(channel, "rb") as stream:
            actions, done = _read(stream.read)
        if not done:
            list(_undo(actions))
    finally:
        os._exit(0)


def _read(read: Callable[[int], bytes]) -> tuple[list[Action], bool]:
    actions: list[Action] = []
    while len(head := read(4)) == 4:
        size = struct.unpack("<I", head)[0]
        if not size:
            return actions, True
        content = read(size)
        if len(content) == size:
            actions.append(pickle.loads(content))
    return actions, False
