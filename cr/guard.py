"""A dump is done by a child of the process that users see.

The child holds the frozen tasks.  When its parent dies, however suddenly, the child gets a signal and lets
the tasks go; when the child itself is killed, the kernel detaches the tasks, and a syscall program under way
finds home by itself (see cr.remote.foothold and cr.remote.call_site; LIMITS.md has the exceptions).
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from cr import log
from cr.kernel.prctl import set_parent_death_signal
from cr.model import CheckpointError
from cr.progress import Progress
from cr.remote import critical

T = TypeVar("T")
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Interrupted(CheckpointError):
    """A signal asked us to give up."""

    def __init__(self, signo: int) -> None:
        self.signo = signo
        super().__init__(f"interrupted by {signal.Signals(signo).name}")


def raise_on_signals() -> None:
    """From now on, the signals that ask a program to end raise `Interrupted` in the main thread."""

    def interrupt(signo: int, _frame: FrameType | None) -> None:
        for number in _FORWARDED:
            signal.signal(number, signal.SIG_IGN)  # one is enough: what follows is the way out
        critical.interrupt(Interrupted(signo))

    for number in _FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, interrupt)


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside the block, the signals that ask a program to end raise `Interrupted`."""
    previous = {number: signal.getsignal(number) for number in _FORWARDED}
    raise_on_signals()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def held(
    work: Callable[[Callable[..., None]], T], notify: Callable[..., None] | None, progress: Progress | None = None
) -> T:
    """Run `work(notify)` in a child and give its result or raise its exception.

    `work` gets a function that calls our `notify` here, in the parent, and waits for it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        ours.close()
        _serve(work, theirs, parent, told=notify is not None)
    theirs.close()
    try:
        return _follow(ours, child, notify, progress)  # type: ignore[no-any-return]
    finally:
        ours.close()
        if progress is not None:
            progress.close()


def _serve(work: Callable[[Callable[..., None]], Any], channel: socket.socket, parent: int, *, told: bool) -> NoReturn:
    code = 1
    try:
        raise_on_signals()
        set_parent_death_signal(signal.SIGTERM)
        if os.getppid() == parent:
            message = _outcome(work, channel, told=told)
            _send(channel, message)
            code = 0
    except (BrokenPipeError, ConnectionResetError, Interrupted):
        code = 1  # nobody is there to hear; the work has cleaned up
    finally:
        os._exit(code)


def _outcome(work: Callable[[Callable[..., None]], Any], channel: socket.socket, *, told: bool) -> tuple[str, Any]:
    def notify(*arguments: Any) -> None:
        if not told:
            return  # the tasks need not stand still until nobody has listened
        _send(channel, ("notify", arguments))
        answer = _receive(channel)
        if answer is not None:
            raise CheckpointError(str(answer))

    try:
        return "result", work(notify)
    except BaseException as error:
        if not isinstance(error, (CheckpointError, OSError)):
            log.trace(error)  # it is lost on the way to the parent
        notes = list(getattr(error, "__notes__", []))
        return "error", (_portable(error), notes)


def _portable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return CheckpointError(f"{type(error).__name__}: {error}")
    return error


def _follow(channel: socket.socket, child: int, notify: Callable[..., None] | None, progress: Progress | None) -> Any:
    previous = {number: signal.getsignal(number) for number in _FORWARDED}
    for number in _FORWARDED:
        if previous[number] is not signal.SIG_IGN:
            signal.signal(number, lambda signo, _frame: os.kill(child, signo))
    try:
        kind, content = _converse(channel, notify, progress)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.waitpid(child, 0)
    if kind == "error":
        error, notes = content
        for text in notes:
            if text not in getattr(error, "__notes__", ()):
                error.add_note(text)
        raise error
    return content


def _converse(channel: socket.socket, notify: Callable[..., None] | None, progress: Progress | None) -> tuple[str, Any]:
    while True:
        while progress is not None and not select.select([channel], [], [], progress.interval)[0]:
            progress.tick()
        message = _receive(channel)
        if message is None:
            return "error", (CheckpointError("the process that did the work was killed; the tasks run on"), [])
        kind, content = message
        if kind != "notify":
            return kind, content
        answer = None
        try:
            assert notify is not None
            notify(*content)
        except Exception as error:
            answer = str(error) or type(error).__name__
        _send(channel, answer)


def _send(channel: socket.socket, message: Any) -> None:
    content = pickle.dumps(message)
    channel.sendall(struct.pack("<I", len(content)) + content)


def _receive(channel: socket.socket) -> Any:
    """The next message; None where the other side is gone."""
    head = _exactly(channel, 4)
    if head is None:
        return None
    content = _exactly(channel, struct.unpack("<I", head)[0])
    return None if content is None else pickle.loads(content)


def _exactly(channel: socket.socket, size: int) -> bytes | None:
    content = b""
    while len(content) < size:
        part = channel.recv(size - len(content))
        if not part:
            return None
        content += part
    return content
