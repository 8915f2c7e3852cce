"""Memory is copied into pages images whatever stands in the way; small images are made beside it."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cr.contract.page_store import LocalWriter
from cr.dump.copier import CHUNK, Copier
from cr.dump.image_sink import ImageSink
from cr.kernel import own_code, page_compare
from images.directory import ImageDirectory
from images.errors import ImageError

PAGE = mmap.PAGESIZE
SIZE = 3 * CHUNK + 5 * PAGE


@pytest.fixture(params=["in batches", "call by call"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With and without machine code of ours."""
    if request.param == "call by call":
        monkeypatch.setattr(own_code, "possible", lambda: False)
    yield


@pytest.fixture
def images(tmp_path: Path) -> Iterator[ImageDirectory]:
    with ImageDirectory.create(tmp_path / "images") as directory:
        yield directory


class Sleeper:
    """A child with some memory, the last page of which nobody may read."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.content = b"".join(number.to_bytes(8, "little") * (PAGE // 8) for number in range(SIZE // PAGE))
        memory[:] = self.content
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        ctypes.CDLL(None).mprotect(ctypes.c_void_p(self.start + SIZE - PAGE), ctypes.c_size_t(PAGE), 0)
        self.pid = os.fork()
        if self.pid == 0:
            signal.pause()
        self.memory = memory

    def end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    made = Sleeper()
    yield made
    made.end()


def copy(copier: Copier, pid: int, runs: list[tuple[int, int]], images: ImageDirectory, *, shared: bool) -> bytes:
    writer = LocalWriter(images, "pagemap", 1, 1)
    for start, end in runs:
        writer.present(start, (end - start) // PAGE)
    copier.submit(pid, runs, writer, lambda: writer.__exit__(None, None, None), shared=shared)
    copier.finish()
    return (Path(images.path) / "pages-1.img").read_bytes()


@pytest.mark.root
@pytest.mark.parametrize("shared", [False, True])
def test_every_byte(way: None, shared: bool, sleeper: Sleeper, images: ImageDirectory) -> None:
    start, end = sleeper.start, sleeper.start + SIZE
    runs = [(start, start + PAGE), (start + 2 * PAGE, start + 2 * CHUNK), (start + 2 * CHUNK + PAGE, end)]
    copier = Copier()
    found = copy(copier, sleeper.pid, runs, images, shared=shared)
    assert found == b"".join(sleeper.content[first - start : last - start] for first, last in runs)
    assert copier.reading > 0
    assert copier.writing > 0


@pytest.mark.root
def test_of_a_living_task_that_has_ended_there_are_zeros(way: None, sleeper: Sleeper, images: ImageDirectory) -> None:
    pid = sleeper.pid
    sleeper.end()
    runs = [(sleeper.start, sleeper.start + SIZE)]
    assert copy(Copier(living=True), pid, runs, images, shared=False) == bytes(SIZE)


@pytest.mark.root
def test_a_frozen_task_that_is_gone_is_an_error(way: None, sleeper: Sleeper, images: ImageDirectory) -> None:
    pid = sleeper.pid
    sleeper.end()
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        copy(Copier(), pid, [(sleeper.start, sleeper.start + PAGE)], images, shared=False)


@pytest.mark.root
def test_a_place_that_is_full_is_told(way: None, sleeper: Sleeper, images: ImageDirectory) -> None:
    writer = LocalWriter(images, "pagemap", 1, 1)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer.fd)
    os.close(full)
    runs = [(sleeper.start, sleeper.start + SIZE)]
    writer.present(sleeper.start, SIZE // PAGE)
    copier = Copier()
    for _ in range(2):
        copier.submit(sleeper.pid, runs, writer, lambda: None)
    with pytest.raises(OSError, match="No space left"):
        copier.finish()
    copier.abort()


def test_images_take_the_place_of_what_was_there(way: None, images: ImageDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    place = Path(images.path)
    os.symlink(victim, place / "core-2.img")
    (place / "core-3.img").write_text("old and longer than what is new")
    images.later = ImageSink(images)
    for number in range(1, 100):
        images.later.put(f"core-{number}.img", b"%d" % number)
    images.later.finish()
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        f"core-{number}.img": b"%d" % number for number in range(1, 100)
    }
    assert victim.read_text() == "untouched"
    assert (place / "core-2.img").stat().st_mode & 0o777 == 0o600
    images.later.put("core-100.img", b"late")
    assert (place / "core-100.img").read_bytes() == b"late"
    images.discard()
    assert not place.exists()


def test_an_image_that_cannot_be_made_is_told(way: None, images: ImageDirectory) -> None:
    images.later = ImageSink(images)
    before = os.listdir("/proc/self/fd")
    os.mkdir("core-5.img", dir_fd=images.fd)
    for number in range(10):
        images.later.put(f"core-{number}.img", b"content")
    with pytest.raises(ImageError, match=r"core-5\.img.*cannot be created"):
        images.later.finish()
    assert os.listdir("/proc/self/fd") == before
    os.rmdir("core-5.img", dir_fd=images.fd)


def test_pages_are_compared(way: None) -> None:
    one = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    other = mmap.mmap(-1, 8 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page, offset in ((1, 0), (2, PAGE - 1), (5, 17), (6, 2048)):
        other[page * PAGE + offset] = 1
    addresses = [ctypes.addressof(ctypes.c_char.from_buffer(memory)) for memory in (one, other)]
    assert page_compare.differing(addresses[0], addresses[1], 8) == bytes((0, 1, 1, 0, 0, 1, 1, 0))
    assert page_compare.differing(addresses[0], addresses[1], 1) == b"\0"
