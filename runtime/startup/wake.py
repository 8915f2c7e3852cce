"""The recorded interpreter becomes the process that it is now: arguments, environment, signals, streams."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

from cr.kernel import prefault
from runtime import own_copy, startup
from runtime.startup import freshness, hot_pages
from runtime.startup.layout import WORDS, command_of, fallback, program_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_DEMANDING = frozenset(
    [f"PYTHON{name}" for name in ("PATH", "HOME", "DEVMODE", "WARNINGS", "TRACEMALLOC", "PROFILEIMPORTTIME", "INSPECT")]
    + ["LD_PRELOAD", "LD_AUDIT"]
)
"""What an interpreter and its dynamic linker mind at their start, and a snapshot cannot."""
_libc = ctypes.CDLL(None)


def wake(stamps: bytes) -> NoReturn:
    """Run the command of this process; never returns."""
    arguments, environment = _vector()
    _adopt_environment(environment)
    if not _DEMANDING.isdisjoint(os.environ):
        _run_plain(arguments)
    sys.argv = arguments
    startup.woken = True
    if program_of(arguments[0]) == "woodfrog" and not own_copy.VERBS.isdisjoint(arguments):
        own_copy.run_from_copy()  # what is done before it is done twice
    if not freshness.fresh(stamps):
        _run_plain(arguments)
    prefault.known = hot_pages.known
    _adopt_signals()
    _open_streams()
    time.tzset()
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
    sys.modules["random"].seed()
    sys.exit(command_of(arguments[0])())


def _vector() -> tuple[list[str], int]:
    """The arguments, and the address of the environment, as the kernel laid them on the stack."""
    place = ctypes.c_uint64.from_address(WORDS).value
    count = ctypes.c_uint64.from_address(place).value
    return [os.fsdecode(text) for text in _texts(place + 8)], place + 8 * (count + 2)


def _texts(place: int) -> list[bytes]:
    """The strings that a vector of addresses, ended by 0, leads to."""
    found = []
    while address := ctypes.c_uint64.from_address(place).value:
        found.append(ctypes.string_at(address))
        place += 8
    return found


def _adopt_environment(place: int) -> None:
    ctypes.c_uint64.in_dll(_libc, "environ").value = place
    variables = [text.partition(b"=") for text in _texts(place)]
    data = os.environ._data  # type: ignore[attr-defined]  # by its own methods it would copy each into the C library
    data.clear()
    for name, _, value in reversed(variables):  # of two with one name the first counts
        if name:
            data[name] = value


def _run_plain(arguments: list[str]) -> NoReturn:
    python, script = fallback()
    os.execve(python, [python, script, *arguments], os.environ)


def _adopt_signals() -> None:
    """As an interpreter does at its start: what was ignored stays ignored, SIGINT raises KeyboardInterrupt."""
    ignored = {number for number in signal.valid_signals() if _ignored(number)}
    for number in (signal.SIGPIPE, signal.SIGXFSZ, *ignored):
        signal.signal(number, signal.SIG_IGN)
    if signal.SIGINT not in ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ignored(number: int) -> bool:
    action = ctypes.create_string_buffer(256)  # struct sigaction begins with the handler
    _libc.sigaction(int(number), None, action)
    return action.raw[:8] == b"\1" + bytes(7)


def _open_streams() -> None:
    for number, name, mode, errors in (
        (0, "stdin", "r", "strict"),
        (1, "stdout", "w", "strict"),
        (2, "stderr", "w", "backslashreplace"),
    ):
        stream = _open(number, mode, errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _open(number: int, mode: str, errors: str) -> object:
    """None where the descriptor is closed, as an interpreter has it."""
    try:
        os.fstat(number)
    except OSError:
        return None
    buffering = 1 if number == 2 else -1
    return open(number, mode, buffering=buffering, encoding="utf-8", errors=errors, closefd=False)
