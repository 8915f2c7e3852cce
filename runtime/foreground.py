"""Staying with a process: signals are passed on, a terminal is relayed, the exit status comes back."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

# not passed on: our own children's, job control of our own terminal, and what Go's runtimes use themselves
_KEPT = {signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE, signal.SIGKILL, signal.SIGSTOP}
_SYNCHRONOUS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}


class Foreground:
    """One process that we wait for.  Use as a context; it puts the handlers and the terminal back."""

    def __init__(self, master: int = -1) -> None:
        self.master = master
        self._pid = 0
        self._early: list[int] = []
        self._old_handlers: dict[int, object] = {}
        self._old_mode: list[Any] | None = None

    def __enter__(self) -> Foreground:
        for number in signal.valid_signals() - _KEPT - _SYNCHRONOUS:
            self._old_handlers[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._old_mode is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._old_mode)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        """A signal that comes before there is a process is kept for it."""
        if number == signal.SIGWINCH and self.master >= 0:
            self._copy_size()
        elif self._pid:
            _send(self._pid, number)
        else:
            self._early.append(number)

    def wait(self, pid: int) -> int:
        """Wait for the process, relaying meanwhile; its exit code, or 128 + the signal that ended it."""
        self._pid = pid
        for number in self._early:
            _send(pid, number)
        if self.master >= 0:
            self._relay(pid)
        while True:
            ended, status = os.waitpid(-1, 0)
            if ended == pid:
                self._pid = 0
                return exit_code(status)

    def _copy_size(self) -> None:
        """Our terminal's size for the container's."""
        if os.isatty(0):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def _relay(self, pid: int) -> None:
        """Copy both ways until the last holder of the terminal's other side has closed it."""
        if os.isatty(0):
            self._old_mode = termios.tcgetattr(0)
            tty.setraw(0)
            make_line_ends(0)
            self._copy_size()
        poll = select.poll()
        poll.register(self.master, select.POLLIN)
        poll.register(0, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self.master in ready and not _copy(self.master, 1):
                return
            if 0 in ready and not _copy(0, self.master):
                poll.unregister(0)
                os.write(self.master, b"\x04")  # end of file, as a terminal says it


def make_line_ends(terminal: int) -> None:
    """A raw terminal that still begins a new line at a newline."""
    mode = termios.tcgetattr(terminal)
    mode[1] |= termios.OPOST | termios.ONLCR
    termios.tcsetattr(terminal, termios.TCSANOW, mode)


def _copy(source: int, target: int) -> bool:
    """One piece; False at the end.  EIO is how a master tells that the other side is closed."""
    try:
        data = os.read(source, 65536)
    except OSError:
        return False
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return bool(data)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def exit_code(status: int) -> int:
    """The exit code that a shell would show for a wait status."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
