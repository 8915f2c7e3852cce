"""The messages in a POSIX message queue.

Nothing in the kernel shows them without taking them, so they are taken and put back at once, the tasks standing still.
Each is noted in memory that a janitor process shares: should we be killed in between, it puts back what is missing, in
the old order.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import time
from functools import partial

from cr.kernel import mqueue, vm
from cr.kernel.namespaces import inside_of
from cr.remote.critical import critical
from cr.remote.janitor import Undo
from cr.values import dataclass

Message = tuple[int, bytes]
"""priority, content"""
_RECORD = struct.Struct("<IIQQ")  # priority (written by the kernel), stage, length, bytes in the queue before it
_TAKING, _TAKEN, _GIVING, _GIVEN = range(1, 5)
_PATIENCE = 5.0  # seconds that a janitor waits for room, where a task has filled the queue


@dataclass(frozen=True)
class Place:
    """How a janitor finds the queue: in the ipc namespace of task `pid`, or where it has no name, as its descriptor."""

    pid: int
    name: str
    fd: int


def copy(queue: int, place: Place) -> list[Message]:
    """All messages, in the order in which they are to be received."""
    count = mqueue.attributes(queue).count
    if not count:
        return []
    with critical():
        journal = Journal(queue, count)
        _JOURNALS[journal.number] = journal
        safety = Undo()
        try:
            safety.append(partial(put_back, journal.number, place))  # forks: the journal's memory is shared
            try:
                journal.take(queue)
            finally:
                journal.give(queue)
        finally:
            safety.forget()
            del _JOURNALS[journal.number]
    return journal.messages()


class Journal:
    """What has been taken out of a queue, and what of that is back."""

    def __init__(self, queue: int, count: int) -> None:
        found = mqueue.attributes(queue)
        self.count, self._room = count, found.size
        self._map = mmap.mmap(-1, mqueue.state(queue).size + found.size + _RECORD.size * (count + 1))
        self._address = vm.address_of(self._map)
        self.number = self._address

    def take(self, queue: int) -> None:
        at = 0
        for _ in range(self.count):
            _RECORD.pack_into(self._map, at, 0, _TAKING, 0, mqueue.state(queue).size)
            length = mqueue.receive(queue, self._address + at + _RECORD.size, self._room, self._address + at)
            at = self._taken(at, length)

    def _taken(self, at: int, length: int) -> int:
        """Where the next record begins."""
        priority, _, _, before = _RECORD.unpack_from(self._map, at)
        _RECORD.pack_into(self._map, at, priority, _TAKEN, length, before)
        return at + _RECORD.size + length

    def give(self, queue: int) -> None:
        """What was taken goes back in the order in which it came: by priority, and within one the oldest first."""
        for at in self._records():
            priority, stage, length, before = _RECORD.unpack_from(self._map, at)
            if stage == _TAKEN:
                _RECORD.pack_into(self._map, at, priority, _GIVING, length, before)
                _send(queue, self._content(at), priority)
                _RECORD.pack_into(self._map, at, priority, _GIVEN, length, before)

    def messages(self) -> list[Message]:
        return [(_RECORD.unpack_from(self._map, at)[0], self._content(at)) for at in self._records()]

    def _records(self) -> list[int]:
        """Where those begin that were taken."""
        found: list[int] = []
        at = 0
        while len(found) < self.count and _RECORD.unpack_from(self._map, at)[1] >= _TAKEN:
            found.append(at)
            at += _RECORD.size + _RECORD.unpack_from(self._map, at)[2]
        return found

    def _content(self, at: int) -> bytes:
        start = at + _RECORD.size
        return self._map[start : start + _RECORD.unpack_from(self._map, at)[2]]

    def recover(self, queue: int) -> None:
        """Whoever took has died in the middle: see what he was at, then give back what is missing."""
        self._finish_taking(queue)
        given = self._finish_giving(queue)
        rest = [] if given else _drain(queue)  # those that were not taken come behind those that were
        self.give(queue)
        for priority, content in rest:
            _send(queue, content, priority)

    def _finish_taking(self, queue: int) -> None:
        """The kernel may have given a message whose length nobody has noted any more: it is what the queue has lost."""
        records = self._records()
        at = records[-1] + _RECORD.size + len(self._content(records[-1])) if records else 0
        _, stage, _, before = _RECORD.unpack_from(self._map, at)
        if stage == _TAKING and mqueue.attributes(queue).count < self.count - len(records):
            self._taken(at, before - mqueue.state(queue).size)

    def _finish_giving(self, queue: int) -> bool:
        """Whether any was given back already."""
        now, given = mqueue.attributes(queue).count, False
        for index, at in enumerate(self._records()):
            priority, stage, length, before = _RECORD.unpack_from(self._map, at)
            if stage == _GIVING:
                stage = _GIVEN if now > index else _TAKEN
                _RECORD.pack_into(self._map, at, priority, stage, length, before)
            given |= stage == _GIVEN
        return given


_JOURNALS: dict[int, Journal] = {}
"""by number; a janitor has those that were there when it was born"""


def put_back(number: int, place: Place) -> None:
    """What a janitor does."""
    journal = _JOURNALS[number]
    with inside_of(place.pid, "ipc"), mqueue.filesystem() as root:
        if place.name and root is not None:
            queue = mqueue.open_in(root, place.name)
        else:
            queue = os.open(f"/proc/{place.pid}/fd/{place.fd}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        journal.recover(queue)


def _drain(queue: int) -> list[Message]:
    room = mqueue.attributes(queue).size
    buffer = bytearray(4 + room)
    address = vm.address_of(buffer)
    found: list[Message] = []
    while True:
        try:
            length = mqueue.receive(queue, address + 4, room, address)
        except BlockingIOError:
            return found
        found.append((int.from_bytes(buffer[:4], "little"), bytes(buffer[4 : 4 + length])))


def _send(queue: int, content: bytes, priority: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return mqueue.send(queue, content, priority)
        except OSError as error:
            if error.errno != errno.EAGAIN or time.monotonic() > deadline:
                raise
        time.sleep(0.001)
