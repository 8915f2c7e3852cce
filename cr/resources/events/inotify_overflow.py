"""Tell the reader of an inotify descriptor that events were lost, as the kernel does: by IN_Q_OVERFLOW.

The kernel makes that event when a queue is full.  So it is filled with events of a file of ours, and read until only
that one is left.
"""

from __future__ import annotations

import os

from cr import log
from cr.kernel.events import inotify_add_watch, inotify_rm_watch
from cr.kernel.rooted import private_tmpfs

_MODIFY, _ATTRIB = 0x2, 0x4
_EVENT = 16
"""bytes of struct inotify_event without a name"""
_MOST = 1 << 20
_AT_ONCE = 1 << 12


def announce(fd: int) -> None:
    """Leave one IN_Q_OVERFLOW in the queue of a new inotify descriptor of ours."""
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        room = int(file.read())
    if room > _MOST:
        log.warning(f"fs.inotify.max_queued_events is {room}: a watcher is not told that events were lost")
        return
    root = private_tmpfs()
    file_fd = os.open("events", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=root)
    try:
        _fill(fd, file_fd, room)
    finally:
        os.close(file_fd)
        os.close(root)
    while room:
        room -= len(os.read(fd, _EVENT * min(room, _AT_ONCE))) // _EVENT


def _fill(fd: int, file: int, room: int) -> None:
    """Events that are alike become one, so there are two kinds by turns; the end of the watch finds no room."""
    wd = inotify_add_watch(fd, f"/proc/self/fd/{file}", _MODIFY | _ATTRIB)
    for _ in range(room // 2 + 1):
        os.pwrite(file, b"x", 0)
        os.fchmod(file, 0o600)
    inotify_rm_watch(fd, wd)
