"""Free those pages of older snapshots that newer ones, which build on them, have replaced."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from cr import log
from cr.kernel.files import punch_hole
from cr.options import Options
from images.directory import ImageDirectory
from images.pages import PAGE_SIZE, PagemapReader, PageRun, PageSource

_KINDS = ("pagemap", "pagemap-shmem")
Piece = tuple[ImageDirectory, int, int, int]
"""directory, pages id, offset and length of bytes in its pages image"""


def dedup(directory: ImageDirectory) -> int:
    """Free in all ancestors what `directory` has itself; how many bytes that were."""
    pieces: list[Piece] = []
    readers: list[PagemapReader] = []
    try:
        for kind in _KINDS:
            for (number,) in directory.ids(kind):
                readers.append(PagemapReader(directory, kind, number))
                pieces += _replaced(readers[-1])
        return _free(pieces)
    finally:
        for reader in readers:
            reader.close()


def dedup_tree(path: str) -> None:
    """`woodfrog-criu dedup`: ImageError where the snapshot or one that it builds on is torn."""
    with ImageDirectory.open(path) as directory:
        parent = directory.parent()
        if parent is None:
            log.warning(f"the snapshot in {path} builds on no other one: there is nothing to free")
            return
        parent.close()
        freed = dedup(directory)
    log.info(f"{freed} bytes of earlier snapshots freed")


def free_restored(path: str) -> None:
    """What has been restored is not needed any more: all pages of a snapshot, wherever they are."""
    with ImageDirectory.open(path) as directory:
        for kind in _KINDS:
            for (number,) in directory.ids(kind):
                with PagemapReader(directory, kind, number) as reader:
                    _free(_place(each) for each in reader.sources() if each.offset is not None)


def _place(source: PageSource) -> Piece:
    assert source.offset is not None
    return source.directory, source.pages_id, source.offset, source.nr_pages * PAGE_SIZE


def _replaced(reader: PagemapReader) -> Iterator[Piece]:
    own = [(run.vaddr, run.end) for run in reader.runs if run.offset is not None]
    ancestor = reader.parent()
    while ancestor is not None:
        for run in ancestor.runs:
            yield from _parts(ancestor, run, own)
        ancestor = ancestor.parent()


def _parts(reader: PagemapReader, run: PageRun, spans: list[tuple[int, int]]) -> Iterator[Piece]:
    """Where the bytes of a run are that lie within these spans."""
    if run.offset is None:
        return
    index = max(0, bisect_right(spans, run.vaddr, key=lambda span: span[0]) - 1)
    while index < len(spans) and spans[index][0] < run.end:
        start, end = max(run.vaddr, spans[index][0]), min(run.end, spans[index][1])
        if start < end:
            yield reader.directory, run.pages_id, run.offset + start - run.vaddr, end - start
        index += 1


def _free(pieces: Iterable[Piece]) -> int:
    freed = 0
    opened: dict[tuple[int, int], int] = {}
    try:
        for directory, pages_id, offset, length in pieces:
            key = (directory.fd, pages_id)
            if key not in opened:
                opened[key] = directory.open_raw("pages", pages_id, change=True)
            punch_hole(opened[key], offset, length)
            freed += length
    finally:
        for fd in opened.values():
            os.close(fd)
    return freed


def run(options: Options) -> int:
    """`woodfrog-criu dedup`."""
    dedup_tree(options.images_dir)
    return 0
