"""Where the parts of a program with a snapshot lie, and what it falls back on."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STACK = 0x200000000000
STACK_SIZE = 8 << 20
CODE = 0x300000000000
WORDS = CODE + 0x1000
"""Far below all that the kernel places by itself."""

SOCKET = 3
"""The descriptor over which the interpreter that is recorded says that it is ready."""

PROGRAMS = {
    "woodfrog": ("runtime.main", "command"),
    "woodfrog-criu": ("cr.cli", "command"),
    "woodfrog-crit": ("images.crit", "main"),
}
"""Names of our programs, with the module and the function that they run, as in pyproject.toml."""
_OTHER_NAMES = {"criu": "woodfrog-criu"}


def program_of(name: str) -> str:
    """Which of our programs was started by this name; `woodfrog` by any other."""
    own = os.path.basename(name)
    own = _OTHER_NAMES.get(own, own)
    return own if own in PROGRAMS else "woodfrog"


def command_of(name: str) -> Callable[[], int]:
    """The function of a program, by the name that it was started by."""
    from importlib import import_module

    module, function = PROGRAMS[program_of(name)]
    found: Callable[[], int] = getattr(import_module(module), function)
    return found


def fallback() -> tuple[str, str]:
    """An interpreter and a script that run a command without the snapshot: `PYTHON SCRIPT NAME ARGUMENT...`."""
    return sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "plain.py")
