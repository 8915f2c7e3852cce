"""POSIX message queues (mq_overview(7)): their calls, and the filesystem that shows those of an ipc namespace."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterator

from cr.kernel import mounts
from cr.kernel.libc import syscall
from cr.values import dataclass

MAGIC = 0x19800202
_ATTRIBUTES = struct.Struct("<8q")
_STATE = re.compile(r"QSIZE:(\d+)\s+NOTIFY:(\d+)\s+SIGNO:(\d+)\s+NOTIFY_PID:(\d+)")


@dataclass(frozen=True)
class Attributes:
    """What mq_getattr(3) tells: room for so many messages, of so many bytes each, and how many there are."""

    most: int
    size: int
    count: int


@dataclass(frozen=True)
class State:
    """What reading the queue's file tells: the bytes in it, and whether somebody waits for a notification."""

    size: int
    notifies: bool


def make(name: str, mode: int, most: int, size: int) -> int:
    """mq_open(3) of a new queue in this thread's ipc namespace: our descriptor, close-on-exec, which never waits."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    return syscall("mq_open", 240, os.fsencode(name), flags, mode, _ATTRIBUTES.pack(0, most, size, 0, 0, 0, 0, 0))


def unlink(name: str) -> None:
    syscall("mq_unlink", 241, os.fsencode(name))


def attributes(fd: int) -> Attributes:
    buffer = ctypes.create_string_buffer(_ATTRIBUTES.size)
    syscall("mq_getsetattr", 245, fd, None, buffer)
    _, most, size, count, *_ = _ATTRIBUTES.unpack(buffer.raw)
    return Attributes(most, size, count)


def state(fd: int) -> State:
    found = _STATE.search(os.pread(fd, 256, 0).decode())
    assert found is not None
    size, *notification = map(int, found.groups())
    return State(size, any(notification))


def receive(fd: int, address: int, room: int, priority_address: int) -> int:
    """mq_receive(3) to our `address`, the priority (32 bits) to the other; the length.  OSError EAGAIN: none there."""
    return syscall("mq_timedreceive", 243, fd, address, room, priority_address, None)


def send(fd: int, content: bytes, priority: int) -> None:
    """mq_send(3); OSError EAGAIN where there is no room."""
    syscall("mq_timedsend", 242, fd, content, len(content), priority, None)


@contextlib.contextmanager
def filesystem() -> Iterator[int | None]:
    """In the block, a descriptor of a mqueue filesystem of this thread's ipc namespace, mounted nowhere; None where
    the kernel has no POSIX message queues."""
    try:
        config = mounts.fsopen("mqueue")
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        yield None
        return
    try:
        mounts.fsconfig(config, mounts.FSCONFIG_CMD_CREATE)
        root = mounts.fsmount(config)
    finally:
        os.close(config)
    try:
        yield root
    finally:
        os.close(root)


def names(root: int) -> list[str]:
    return sorted(os.listdir(f"/proc/self/fd/{root}"))


def open_in(root: int, name: str) -> int:
    return os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root)
