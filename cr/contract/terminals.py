"""Pseudoterminals that two resources care for: the mounts that show one, and the descriptors that lead to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from cr.kernel import terminals
from cr.model import CheckpointError

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext

_KEY = "masters of terminals that are bind mounted"


def bound_masters(context: RestoreContext) -> dict[tuple[int, int], int]:
    """(device number of the devpts as in mountinfo, index) -> master, a descriptor of ours."""
    return context.once(_KEY, dict)


def allocate(open_master: Callable[[], int], index: int) -> int:
    """A master with that number: the kernel gives the lowest free one, so lower ones are taken for the moment."""
    spare: list[int] = []
    try:
        while (got := terminals.index_of(fd := open_master())) < index:
            spare.append(fd)
        if got != index:
            os.close(fd)
            raise CheckpointError(
                f"the pseudoterminal number {index} is in use: close it, or restore into a new devpts"
            )
        return fd
    finally:
        for other in spare:
            os.close(other)
