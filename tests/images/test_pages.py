"""Pagemaps: merging on the way out, checks on the way in, parents followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import messages as m
from images.directory import ImageDirectory
from images.errors import ImageError
from images.kinds import PageFlag
from images.pages import PAGE_SIZE, PagemapReader, PagesWriter

BASE = 0x7F0000000000


def page(number: int) -> bytes:
    return bytes([number]) * PAGE_SIZE


def at(number: int) -> int:
    return BASE + number * PAGE_SIZE


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[ImageDirectory]:
    with ImageDirectory.create(tmp_path / "snapshot") as directory:
        yield directory


def test_adjacent_runs_become_one_record(snapshot: ImageDirectory) -> None:
    with PagesWriter(snapshot, "pagemap", 1, 7) as pages:
        pages.append(at(0), page(0))
        pages.append(at(1), page(1) + page(2))
        pages.in_parent(at(3), 2)
        os.write(pages.fd, page(5))
        pages.present(at(5), 1, lazy=True)
    with PagemapReader(snapshot, "pagemap", 1) as reader:
        found = [(run.vaddr, run.nr_pages, run.flags, run.offset) for run in reader.runs]
    assert found == [
        (at(0), 3, PageFlag.PRESENT, 0),
        (at(3), 2, PageFlag.PARENT, None),
        (at(5), 1, PageFlag.PRESENT | PageFlag.LAZY, 3 * PAGE_SIZE),
    ]


def test_records_carry_the_64_bit_count_only(snapshot: ImageDirectory) -> None:
    with PagesWriter(snapshot, "pagemap-shmem", 1, 7) as pages:
        pages.append(0, page(0))
    entry = snapshot.read("pagemap-shmem", 1)[1]
    assert entry == m.pagemap_entry(vaddr=0, compat_nr_pages=1, flags=PageFlag.PRESENT, nr_pages=1)


def test_a_record_without_its_bytes_is_refused_at_the_end(snapshot: ImageDirectory) -> None:
    with pytest.raises(ImageError, match="records 2 pages"), PagesWriter(snapshot, "pagemap", 1, 7) as pages:
        pages.append(at(0), page(0))
        pages.present(at(1), 1)


@pytest.mark.parametrize("vaddr", [at(0), at(1) + 1])
def test_runs_out_of_order_or_unaligned_are_refused(snapshot: ImageDirectory, vaddr: int) -> None:
    with PagesWriter(snapshot, "pagemap", 1, 7) as pages:
        pages.append(at(0), page(0))
        with pytest.raises(ValueError, match="cannot follow"):
            pages.in_parent(vaddr, 1)


def test_parents_are_followed_piece_by_piece(tmp_path: Path) -> None:
    with ImageDirectory.create(tmp_path / "old") as old, PagesWriter(old, "pagemap", 1, 1) as pages:
        pages.append(at(0), page(0) + page(1))
        pages.append(at(2), page(2), lazy=True)
    with ImageDirectory.create(tmp_path / "new") as new:
        new.link_parent("../old")
        with PagesWriter(new, "pagemap", 1, 1) as pages:
            pages.append(at(0), page(9))
            pages.in_parent(at(1), 2)
        with PagemapReader(new, "pagemap", 1) as reader:
            data = [read(source.directory, source.offset) for source in reader.sources()]
    assert data == [page(9), page(1), page(2)]


def read(directory: ImageDirectory, offset: int | None) -> bytes:
    assert offset is not None
    fd = directory.open_raw("pages", 1)
    try:
        return os.pread(fd, PAGE_SIZE, offset)
    finally:
        os.close(fd)


def test_a_page_that_no_parent_has_is_an_error(tmp_path: Path) -> None:
    with ImageDirectory.create(tmp_path / "old") as old, PagesWriter(old, "pagemap", 1, 1) as pages:
        pages.append(at(0), page(0))
    with ImageDirectory.create(tmp_path / "new") as new:
        new.link_parent("../old")
        with PagesWriter(new, "pagemap", 1, 1) as pages:
            pages.in_parent(at(0), 2)
        reader = PagemapReader(new, "pagemap", 1)
        with reader, pytest.raises(ImageError, match=f"lacks the page at {at(1):#x}"):
            list(reader.sources())


def test_a_snapshot_that_is_its_own_parent_is_an_error(snapshot: ImageDirectory) -> None:
    snapshot.link_parent(".")
    with PagesWriter(snapshot, "pagemap", 1, 1) as pages:
        pages.in_parent(at(0), 1)
    with PagemapReader(snapshot, "pagemap", 1) as reader, pytest.raises(ImageError, match="its own ancestor"):
        list(reader.sources())


def test_a_reference_without_a_parent_is_an_error(snapshot: ImageDirectory) -> None:
    with PagesWriter(snapshot, "pagemap", 1, 1) as pages:
        pages.in_parent(at(0), 1)
    with PagemapReader(snapshot, "pagemap", 1) as reader, pytest.raises(ImageError, match="no link to one"):
        list(reader.sources())


HOSTILE = {
    "overlap": ([(at(0), 2, 4), (at(1), 1, 4)], "overlap"),
    "descending": ([(at(5), 1, 4), (at(1), 1, 4)], "overlap"),
    "more than the pages image has": ([(at(0), 1 << 40, 4)], "has 4096 bytes where"),
    "beyond the address space": ([((1 << 64) - PAGE_SIZE, 2, 4)], "cannot be"),
    "unaligned": ([(at(0) + 8, 1, 4)], "cannot be"),
    "no pages": ([(at(0), 0, 4)], "cannot be"),
    "nowhere": ([(at(0), 1, 0)], "nothing says where"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pagemaps_are_refused(snapshot: ImageDirectory, case: str) -> None:
    rows, message = HOSTILE[case]
    with snapshot.writer("pagemap", 1) as image:
        image.add(m.pagemap_head(pages_id=1))
        for vaddr, nr_pages, flags in rows:
            image.add(m.pagemap_entry(vaddr=vaddr, compat_nr_pages=0, nr_pages=nr_pages, flags=flags))
    fd = snapshot.open_raw("pages", 1, write=True)
    os.ftruncate(fd, 4096)
    os.close(fd)
    with pytest.raises(ImageError, match=message):
        PagemapReader(snapshot, "pagemap", 1)


def test_records_of_older_engines_are_understood(snapshot: ImageDirectory) -> None:
    with snapshot.writer("pagemap", 1) as image:
        image.add(m.pagemap_head(pages_id=1))
        image.add(m.pagemap_entry(vaddr=at(0), compat_nr_pages=2))
        image.add(m.pagemap_entry(vaddr=at(2), compat_nr_pages=1, in_parent=True))
    fd = snapshot.open_raw("pages", 1, write=True)
    os.ftruncate(fd, 2 * PAGE_SIZE)
    os.close(fd)
    with PagemapReader(snapshot, "pagemap", 1) as reader:
        found = [(run.nr_pages, run.flags, run.offset) for run in reader.runs]
    assert found == [(2, PageFlag.PRESENT, 0), (1, PageFlag.PARENT, None)]
