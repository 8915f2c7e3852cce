"""The engine's log: lines with the time since the start, as users of criu know them.

    (00.012345) Error (cr/dump/freeze.py:88): task 42 is traced by process 7: detach that debugger first

Levels: 1 errors, 2 warnings, 3 information, 4 debug.  Nothing is written before `open_log`.
"""

from __future__ import annotations

import os
import sys
import time

ERROR, WARNING, INFO, DEBUG = 1, 2, 3, 4
_NAMES = {ERROR: "Error", WARNING: "Warn "}


class _Log:
    fd = -1
    level = WARNING
    began = time.monotonic()


def open_log(path: str, directory_fd: int | None, level: int) -> None:
    """Log to `path` (relative to `directory_fd`), or to standard error where `path` is empty."""
    close_log()
    _Log.began, _Log.level = time.monotonic(), level
    if path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        _Log.fd = os.open(path, flags, 0o600, dir_fd=directory_fd)
    else:
        _Log.fd = os.dup(2)


def close_log() -> None:
    if _Log.fd >= 0:
        os.close(_Log.fd)
        _Log.fd = -1


def _write(level: int, text: str) -> None:
    if _Log.fd < 0 or level > _Log.level:
        return
    seconds = time.monotonic() - _Log.began
    place = ""
    if level in _NAMES:
        frame = sys._getframe(2)
        place = f"{_NAMES[level]} ({frame.f_globals['__name__'].replace('.', '/')}.py:{frame.f_lineno}): "
    line = f"({seconds:09.6f}) {place}{text}\n"
    os.write(_Log.fd, line.encode(errors="surrogateescape"))


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


def to_standard_error() -> bool:
    """Whether the log goes where standard error goes."""
    return _Log.fd >= 0 and os.path.sameopenfile(_Log.fd, 2)
