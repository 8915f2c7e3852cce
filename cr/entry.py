"""How our commands begin and end: most of what a short one costs is the interpreter around it."""

from __future__ import annotations

import gc
import os
import sys

import images
from cr.swallowed import insist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_ALLOCATIONS = 50_000  # between two searches for cycles; the default of 700 means dozens of them in our imports alone


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run a command in this process and end it, without the time that taking an interpreter apart takes."""
    gc.set_threshold(_ALLOCATIONS, 20, 100)
    images.lean = True
    insist()
    _occupy_standard()
    try:
        code = main()
    except SystemExit as error:
        code = _code(error)
    _flush()
    os._exit(code)


def _occupy_standard() -> None:
    """Descriptors 0 to 2 that are closed lead to /dev/null: no other file of ours shall get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _code(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            continue  # nobody reads it any more, or it was closed: there is nobody to tell
