"""The engine's log: lines with the time since the start, as users of criu know them.

    (00.012345) Error (cr/dump/freeze.py:88): task 42 is traced by process 7: detach that debugger first

Levels: 1 errors, 2 warnings, 3 information, 4 debug.  Nothing is written before `open_log`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
ERROR, WARNING, INFO, DEBUG = 1, 2, 3, 4
_NAMES = {ERROR: "Error", WARNING: "Warn "}


class _Log:
    fd = -1
    task_fd = -1
    directory = -1
    """where the logs of single tasks go, -1 unless they were asked for"""
    path = ""
    level = WARNING
    began = time.monotonic()


def open_log(path: str, directory_fd: int, level: int, *, per_task: bool = False) -> None:
    """Log to `path` (relative to `directory_fd`), or to standard error where `path` is empty.

    With `per_task` what is said inside of `about(pid)` goes to `path`.pid instead.
    """
    close_log()
    _Log.began, _Log.level, _Log.path = time.monotonic(), level, path
    _Log.fd = os.open(path, _FLAGS | os.O_TRUNC, 0o600, dir_fd=directory_fd) if path else os.dup(2)
    if path and per_task:
        _Log.directory = os.dup(directory_fd)


def close_log() -> None:
    for name in ("fd", "directory"):
        if getattr(_Log, name) >= 0:
            os.close(getattr(_Log, name))
            setattr(_Log, name, -1)


@contextmanager
def about(pid: int) -> Iterator[None]:
    """Inside the block it is all about one task (--log-pid)."""
    if _Log.directory < 0:
        yield
        return
    _Log.task_fd = os.open(f"{_Log.path}.{pid}", _FLAGS, 0o600, dir_fd=_Log.directory)
    try:
        yield
    finally:
        os.close(_Log.task_fd)
        _Log.task_fd = -1


def _write(level: int, text: str) -> None:
    if _Log.fd < 0 or level > _Log.level:
        return
    seconds = time.monotonic() - _Log.began
    place = ""
    if level in _NAMES:
        frame = sys._getframe(2)
        place = f"{_NAMES[level]} ({frame.f_globals['__name__'].replace('.', '/')}.py:{frame.f_lineno}): "
    line = f"({seconds:09.6f}) {place}{text}\n"
    os.write(_Log.fd if _Log.task_fd < 0 else _Log.task_fd, line.encode(errors="surrogateescape"))


def error(text: str) -> None:
    _write(ERROR, text)


def warning(text: str) -> None:
    _write(WARNING, text)


def info(text: str) -> None:
    _write(INFO, text)


def debug(text: str) -> None:
    _write(DEBUG, text)


def trace(error: BaseException) -> None:
    """Where an error that nobody expected comes from; for level 4 only."""
    if _Log.fd < 0 or _Log.level < DEBUG:
        return
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        debug(line)


def duplicate() -> int:
    """Another descriptor of the open log, for a program to write to."""
    return os.dup(_Log.fd)


def to_standard_error() -> bool:
    """Whether the log goes where standard error goes."""
    return _Log.fd >= 0 and os.path.sameopenfile(_Log.fd, 2)
