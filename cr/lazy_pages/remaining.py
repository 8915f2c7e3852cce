"""Which pages of an address space have not been brought yet.  Pure bookkeeping."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from images.pages import PAGE_SIZE

Span = tuple[int, int]


class Piece(NamedTuple):
    """Pages at [start, end); `origin` is where they were when they were dumped."""

    start: int
    end: int
    origin: int

    @property
    def nr_pages(self) -> int:
        return (self.end - self.start) // PAGE_SIZE

    def part(self, start: int, end: int) -> Piece:
        start, end = max(start, self.start), min(end, self.end)
        return Piece(start, end, self.origin + start - self.start)


class Remaining:
    """Pieces in ascending order that do not overlap."""

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self._pieces = list(pieces)
        self.nr_pages = sum(piece.nr_pages for piece in self._pieces)

    @classmethod
    def of(cls, pieces: Iterable[tuple[int, int, int]]) -> Remaining:
        """From (start, end, origin) each."""
        return cls(Piece(*piece) for piece in pieces)

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __iter__(self) -> Iterator[Piece]:
        return iter(list(self._pieces))

    def copy(self) -> Remaining:
        """The same pages, of a child of fork(2)."""
        return Remaining(self._pieces)

    def at(self, address: int) -> Piece | None:
        """The piece with this page."""
        index = bisect_right(self._pieces, address, key=_start) - 1
        if index >= 0 and address < self._pieces[index].end:
            return self._pieces[index]
        return None

    def next(self, address: int) -> Piece | None:
        """The piece with this page, or else the next one behind it, or else the first."""
        if not self._pieces:
            return None
        found = self.at(address)
        index = bisect_right(self._pieces, address, key=_start)
        return found or self._pieces[index if index < len(self._pieces) else 0]

    def take(self, start: int, end: int) -> list[Piece]:
        """Remove what lies in [start, end), and give it."""
        first = bisect_right(self._pieces, start, key=_start) - 1
        if first < 0 or self._pieces[first].end <= start:
            first += 1
        last, taken = first, []
        kept: list[Piece] = []
        while last < len(self._pieces) and self._pieces[last].start < end:
            piece = self._pieces[last]
            taken.append(piece.part(start, end))
            if piece.start < start:
                kept.append(piece.part(piece.start, start))
            if piece.end > end:
                kept.append(piece.part(end, piece.end))
            last += 1
        self._pieces[first:last] = kept
        self.nr_pages -= sum(piece.nr_pages for piece in taken)
        return taken

    def put(self, pieces: Iterable[Piece]) -> None:
        """Add pieces where none are."""
        for piece in pieces:
            if piece.start < piece.end:
                self._pieces.insert(bisect_right(self._pieces, piece.start, key=_start), piece)
                self.nr_pages += piece.nr_pages

    def move(self, start: int, target: int, length: int) -> None:
        """mremap(2): what was at `start` is at `target` now; what was there is gone."""
        moved = self.take(start, start + length)
        self.take(target, target + length)
        shift = target - start
        self.put(Piece(piece.start + shift, piece.end + shift, piece.origin) for piece in moved)


def _start(piece: Piece) -> int:
    return piece.start
