"""Messages for the caller, in the two forms that engines above us parse.

text: ``time="2026-01-02T03:04:05Z" level=error msg="..."``;  json: one object a line with level, msg, time.
With --log they go to that file, and a fatal one is also told plainly on standard error.
"""

from __future__ import annotations

import json
import os
import time

LEVELS = ("debug", "info", "warning", "error")


class Reporter:
    """Where messages go.  The descriptor stays open, so it works behind pivot_root too."""

    def __init__(self, path: str = "", form: str = "text", debug: bool = False) -> None:
        self.form = form
        self.debug_on = debug
        self.to_file = bool(path)
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644) if path else 2

    def write(self, level: str, message: str) -> None:
        """One message; a reader that went away is no reason to fail."""
        if level == "debug" and not self.debug_on:
            return
        try:
            os.write(self.fd, (self.line(level, message) + "\n").encode(errors="surrogateescape"))
        except (BrokenPipeError, BlockingIOError):
            return

    def line(self, level: str, message: str) -> str:
        """The message in our form, without the newline."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.form == "json":
            return json.dumps({"level": level, "msg": message, "time": now}, separators=(",", ":"))
        return f'time="{now}" level={level} msg={_quote(message)}'

    def warn(self, message: str) -> None:
        """Something was left out."""
        self.write("warning", message)

    def debug(self, message: str) -> None:
        """For --debug only."""
        self.write("debug", message)

    def trace(self, error: BaseException) -> None:
        """Where an error comes from, line by line; for --debug only."""
        if not self.debug_on:
            return
        import traceback

        for line in "".join(traceback.format_exception(error)).splitlines():
            self.debug(line)

    def fatal(self, message: str) -> None:
        """The last message of a command that failed."""
        self.write("error", message)
        if self.to_file:
            os.write(2, (message + "\n").encode(errors="surrogateescape"))


def _quote(message: str) -> str:
    """Quoted as Go's %q does for what occurs in messages."""
    return json.dumps(message, ensure_ascii=False)
