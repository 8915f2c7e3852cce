"""Moments in which we must not be interrupted: a task's registers are ours, and it could not go on by itself.

A signal handler that wants to raise an exception gives it to `interrupt`; inside of a `critical` block it
is kept until the block ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class _State:
    depth = 0
    kept: BaseException | None = None


@contextmanager
def critical() -> Iterator[None]:
    """Inside the block no interruption is raised; one that came is raised at its end."""
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
        if _State.depth == 0 and _State.kept is not None:
            error, _State.kept = _State.kept, None
            raise error


def interrupt(error: BaseException) -> None:
    """Raise now, or as soon as that does no harm."""
    if not _State.depth:
        raise error
    _State.kept = error
