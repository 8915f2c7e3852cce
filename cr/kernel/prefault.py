"""Pages of our own that will be needed while tasks are frozen are touched before they are.

Only a program that was started from a snapshot knows which: all its memory is still in its file, and each page that is
touched first costs some microseconds.
"""

from __future__ import annotations

import mmap

from cr.kernel import batch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Span = tuple[int, int]

_MADVISE, _MADV_POPULATE_WRITE = 28, 23

known: Callable[[], list[Span]] | None = None
"""tells the (address, number of pages) of what a dump touches while tasks are frozen"""


def populate() -> None:
    """Have these pages copied now; where that cannot be, they are when they are touched."""
    if known is None or not batch.possible():
        return
    calls = batch.Batch()
    for address, count in known():
        calls.call(_MADVISE, address, count * mmap.PAGESIZE, _MADV_POPULATE_WRITE, expect=0)
    calls.run()
