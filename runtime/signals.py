"""Signals by name or number, as `kill` takes them."""

from __future__ import annotations

import signal

from runtime.errors import ContainerError


def number_of(text: str) -> int:
    """9, KILL, SIGKILL, kill, RTMIN+3.  Raises ContainerError: unknown signal."""
    if text.isdecimal():
        return _checked(int(text), text)
    name, sign, offset = text.upper().partition("-" if "-" in text else "+")
    found = signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")
    if found is None or (sign and not offset.isdecimal()):
        raise ContainerError(f'unknown signal "{text}"')
    shift = int(offset) if sign else 0
    return _checked(found - shift if sign == "-" else found + shift, text)


def _checked(number: int, text: str) -> int:
    if not 0 <= number <= signal.SIGRTMAX:
        raise ContainerError(f'unknown signal "{text}"')
    return number
