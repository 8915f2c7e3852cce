"""Torn, truncated and foreign memory images are noticed before any process is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cr.model import BadImages, CheckpointError
from cr.options import Options
from cr.restore.read import read
from images import messages as m
from images.directory import ImageDirectory
from images.errors import ImageError
from images.pages import PAGE_SIZE, PagemapReader, PagesWriter
from tests.cr.harness import Workload

pytestmark = pytest.mark.root


@pytest.fixture
def images(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Images of a real task, and its pid."""
    with Workload("memory_kinds", tmp_path, ["shared"]) as workload:
        workload.dump()
        yield workload.images, workload.pid


def truncate(images: Path, pid: int) -> None:
    with ImageDirectory.open(images) as directory:
        pages_id = directory.read("pagemap", pid)[0].pages_id
    path = images / f"pages-{pages_id}.img"
    os.truncate(path, path.stat().st_size - PAGE_SIZE)


def lose_shared(images: Path, pid: int) -> None:
    for path in images.glob("pagemap-shmem-*.img"):
        path.unlink()


def tear_pagemap(images: Path, pid: int) -> None:
    path = images / f"pagemap-{pid}.img"
    os.truncate(path, path.stat().st_size - 3)


def foreign_pages(images: Path, pid: int) -> None:
    with ImageDirectory.open(images) as directory, PagesWriter(directory, "pagemap", pid, 9999) as writer:
        writer.append(0x123000, bytes(PAGE_SIZE))


def change_mm(images: Path, pid: int, change: Callable[[m.mm_entry], None]) -> None:
    with ImageDirectory.open(images) as directory:
        mm = directory.read_one("mm", pid)
        change(mm)
        directory.write("mm", pid, entries=[mm])


def overlap(images: Path, pid: int) -> None:
    def change(mm: m.mm_entry) -> None:
        mm.vmas[1].start = mm.vmas[0].start

    change_mm(images, pid, change)


def unknown_kind(images: Path, pid: int) -> None:
    def change(mm: m.mm_entry) -> None:
        mm.vmas[0].status = 1

    change_mm(images, pid, change)


def other_vdso(images: Path, pid: int) -> None:
    def change(mm: m.mm_entry) -> None:
        next(vma for vma in mm.vmas if vma.status & 8).end -= PAGE_SIZE

    change_mm(images, pid, change)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "needs"),
        (lose_shared, "missing"),
        (tear_pagemap, "pagemap"),
        (foreign_pages, "nothing is mapped"),
        (overlap, "overlaps"),
        (unknown_kind, "a kind that we do not know"),
    ],
)
def test_is_noticed(images: tuple[Path, int], damage: Callable[[Path, int], None], words: str) -> None:
    damage(*images)
    with pytest.raises((BadImages, ImageError), match=words):
        read(Options(images_dir=str(images[0])))


def test_half_a_vdso_is_noticed(images: tuple[Path, int]) -> None:
    other_vdso(*images)
    with pytest.raises(CheckpointError, match="vDSO in the images cannot be read"):
        read(Options(images_dir=str(images[0])))


def test_whole_images_are_fine(images: tuple[Path, int]) -> None:
    context = read(Options(images_dir=str(images[0])))
    assert context.root.mm is not None
    with PagemapReader(context.images, "pagemap", images[1]) as reader:
        assert reader.runs
