"""The user at a terminal: the other end of a container's console."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
import time
from pathlib import Path

from integration.containers import PATIENCE

PROMPT = "frog> "
"""What is typed before the shell shows it may reach whatever ran before."""


class Terminal:
    """Takes masters at a console socket at `path`, types into the newest and reads from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.master = -1
        self.marks = 0
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._server.settimeout(PATIENCE)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()
        self._drop()

    def take(self) -> None:
        """The master that the runtime sent; the one before is closed."""
        self._drop()
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(PATIENCE)
            _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        self.master = fds[0]

    def _drop(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read_until(self, wanted: str) -> str:
        """What the terminal shows, up to and with the text."""
        seen = ""
        deadline = time.monotonic() + PATIENCE
        while wanted not in seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited in vain for {wanted!r}; the terminal shows {seen!r}"
            seen += os.read(self.master, 4096).decode(errors="replace")
        return seen

    def command(self, line: str) -> str:
        """Type a command line at the prompt; what it prints."""
        self.marks += 1
        # the marks are quoted in what is typed, so the terminal's echo of it is not taken for the shell's answer
        self.type(f"echo begin'-'{self.marks}; {line}; echo end'-'{self.marks}\n")
        seen = self.read_until(f"end-{self.marks}\r\n{PROMPT}")
        return seen.partition(f"begin-{self.marks}")[2].partition(f"end-{self.marks}")[0].strip()
