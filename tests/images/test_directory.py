"""Image directories: naming, the commit mark, discarding, parents, and what stands in the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import messages as m
from images.directory import ImageDirectory
from images.entry import ImageWriter
from images.errors import ImageError
from images.kinds import KINDS, kind_of_file

TASK = m.pstree_entry(pid=1, ppid=0, pgid=1, sid=1, threads=[1])
INVENTORY = m.inventory_entry(img_version=2)


@pytest.fixture
def snapshot(tmp_path: Path) -> Iterator[ImageDirectory]:
    with ImageDirectory.create(tmp_path / "snapshot") as directory:
        yield directory


def test_bytes_on_disk(snapshot: ImageDirectory) -> None:
    snapshot.write("pstree", entries=[TASK])
    image = Path(snapshot.path, "pstree.img").read_bytes()
    assert image.hex(" ", -4) == "19435654 30302750 0a000000 08011000 18012001 2801"


def test_files_are_private_to_their_owner(snapshot: ImageDirectory) -> None:
    snapshot.write("pstree", entries=[TASK])
    assert stat.S_IMODE(Path(snapshot.path, "pstree.img").stat().st_mode) == 0o600


def test_read_back(snapshot: ImageDirectory) -> None:
    snapshot.write("pstree", entries=[TASK, TASK])
    assert snapshot.read("pstree") == [TASK, TASK]
    assert snapshot.exists("pstree")
    assert not snapshot.exists("core", 1)


def test_read_one_wants_exactly_one(snapshot: ImageDirectory) -> None:
    snapshot.write("pstree", entries=[TASK, TASK])
    with pytest.raises(ImageError, match=r"pstree.img: has 2 entries where one is expected"):
        snapshot.read_one("pstree")


def test_payloads_are_read_after_the_reader_is_gone(snapshot: ImageDirectory) -> None:
    with snapshot.writer("pipes-data") as image:
        image.add(m.pipe_data_entry(pipe_id=1, bytes=5), b"hello")
        image.add(m.pipe_data_entry(pipe_id=2, bytes=3), memoryview(b"you"))
    payloads = [payload for _, payload in snapshot.reader("pipes-data")]
    assert [payload.bytes() for payload in payloads] == [b"hello", b"you"]
    assert os.pread(payloads[1].fd, payloads[1].size, payloads[1].offset) == b"you"
    assert b"".join(payloads[0].chunks(2)) == b"hello"


def test_a_payload_may_be_written_to_the_descriptor(snapshot: ImageDirectory) -> None:
    with snapshot.writer("pipes-data") as image:
        image.add(m.pipe_data_entry(pipe_id=1, bytes=5))
        os.write(image.fd, b"hello")
    [(_, payload)] = snapshot.reader("pipes-data")
    assert payload.bytes() == b"hello"


def test_a_payload_of_another_size_is_refused(snapshot: ImageDirectory) -> None:
    with snapshot.writer("pipes-data") as image, pytest.raises(ValueError, match="promises 4"):
        image.add(m.pipe_data_entry(pipe_id=1, bytes=4), b"hello")


def test_another_message_is_refused(snapshot: ImageDirectory) -> None:
    with snapshot.writer("core", 1) as image, pytest.raises(ValueError, match="takes a core_entry here"):
        image.add(TASK)


def test_a_full_filesystem_is_named() -> None:
    full = ImageWriter(lambda: os.open("/dev/full", os.O_WRONLY), Path("pstree.img"), KINDS["pstree"])
    with pytest.raises(ImageError, match=r"pstree.img: cannot be written: No space left"), full as image:
        image.add(TASK)


def test_a_missing_image_is_named(snapshot: ImageDirectory) -> None:
    with pytest.raises(ImageError, match=r"core-7.img: this image is missing from the snapshot"):
        snapshot.read("core", 7)


def test_commit_is_the_last_word(snapshot: ImageDirectory) -> None:
    snapshot.write("pstree", entries=[TASK])
    assert not snapshot.exists("inventory")
    snapshot.commit(INVENTORY)
    assert snapshot.read_one("inventory") == INVENTORY
    assert snapshot.names() == ["inventory.img", "pstree.img"]


def test_nothing_of_an_older_snapshot_is_left_for_a_new_one(snapshot: ImageDirectory) -> None:
    snapshot.write("pstree", entries=[TASK])
    os.close(snapshot.open_raw("pages", 3, write=True))
    Path(snapshot.path, "dump.log").write_text("no image")
    snapshot.link_parent("../before")
    snapshot.commit(INVENTORY)
    snapshot.uncommit()
    assert snapshot.names() == ["dump.log", "parent"]


def test_discard_removes_a_directory_it_made(snapshot: ImageDirectory) -> None:
    snapshot.write("pstree", entries=[TASK])
    snapshot.link_parent("../older")
    snapshot.commit(INVENTORY)
    os.close(snapshot.open_raw("pages", 1, write=True))
    snapshot.discard()
    assert not Path(snapshot.path).exists()


def test_discard_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "descriptors.json").write_text("[]")
    with ImageDirectory.create(tmp_path) as directory:
        directory.write("pstree", entries=[TASK])
        directory.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["descriptors.json"]


def test_an_old_image_is_replaced_not_written_through(snapshot: ImageDirectory, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    Path(snapshot.path, "pstree.img").symlink_to(precious)
    snapshot.write("pstree", entries=[TASK])
    assert precious.read_text() == "keep me"
    assert snapshot.read("pstree") == [TASK]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"/a/b: the image directory cannot be made: No such file"):
        ImageDirectory.create(tmp_path / "a" / "b")


def test_from_a_descriptor(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with ImageDirectory.from_fd(fd) as directory:
        os.close(fd)
        directory.write("pstree", entries=[TASK])
    assert directory.path == str(tmp_path)
    assert (tmp_path / "pstree.img").exists()


def test_parent(snapshot: ImageDirectory, tmp_path: Path) -> None:
    assert snapshot.parent() is None
    snapshot.link_parent("../older")
    with pytest.raises(ImageError, match="not where this link points"):
        snapshot.parent()
    (tmp_path / "older").mkdir()
    parent = snapshot.parent()
    assert parent is not None
    with parent:
        assert os.fstat(parent.fd).st_ino == (tmp_path / "older").stat().st_ino


def test_ids(snapshot: ImageDirectory) -> None:
    for number in (12, 3):
        os.close(snapshot.open_raw("pages", number, write=True))
    assert snapshot.ids("pages") == [(3,), (12,)]


def test_raw_and_entry_images_are_not_confused(snapshot: ImageDirectory) -> None:
    with pytest.raises(ValueError, match="raw"):
        snapshot.writer("pages", 1)
    with pytest.raises(ValueError, match="made of entries"):
        snapshot.open_raw("core", 1)


@pytest.mark.parametrize(
    ("kind", "ids", "name"),
    [
        ("core", (42,), "core-42.img"),
        ("ghost-file", (255,), "ghost-file-ff.img"),
        ("tcp-stream", (8699,), "tcp-stream-21fb.img"),
        ("pagemap-shmem", (1 << 40,), "pagemap-shmem-1099511627776.img"),
        ("tmpfs-dev", (5,), "tmpfs-dev-5.tar.gz.img"),
        ("stats-dump", (), "stats-dump"),
    ],
)
def test_names(kind: str, ids: tuple[int, ...], name: str) -> None:
    assert KINDS[kind].filename(*ids) == name
    assert kind_of_file(name) == (KINDS[kind], ids)


def test_a_name_needs_its_ids() -> None:
    with pytest.raises(ValueError, match=r"core-%u.img cannot be made from \(\)"):
        KINDS["core"].filename()


def test_other_files_are_no_images() -> None:
    assert kind_of_file("dump.log") is None
