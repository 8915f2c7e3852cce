"""What was written is read back; what was damaged is either refused with an ImageError or still valid."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images import crit_image
from images import messages as m
from images.directory import ImageDirectory
from images.entry import ImageWriter, header_bytes, read_entries
from images.errors import ImageError
from images.file import ImageFile
from images.kinds import KINDS, ImageKind, PayloadRule
from images.payload import decode_queue
from tests.images.builders import ENTRY_KINDS, Entry, entries

PATH = Path("some.img")
RELAXED = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def packed(kind: ImageKind, content: list[Entry]) -> bytes:
    """The bytes of an image."""
    fd = os.memfd_create("image")
    with ImageWriter(lambda: os.dup(fd), PATH, kind) as writer:
        for message, data in content:
            writer.add(message, data)
    return slurp(fd)


def slurp(fd: int) -> bytes:
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def opened(data: bytes) -> ImageFile:
    fd = os.memfd_create("image")
    os.write(fd, data)
    return ImageFile(fd, PATH)


def unpacked(kind: ImageKind, data: bytes) -> list[Entry]:
    return [(entry, payload.bytes()) for entry, payload in read_entries(opened(data), kind)]


@pytest.mark.parametrize("name", ENTRY_KINDS)
@RELAXED
@given(data=st.data())
def test_every_kind_is_read_back(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    content = data.draw(entries(kind))
    image = packed(kind, content)
    found = unpacked(kind, image)
    assert found == [(message, extra or b"") for message, extra in content]
    assert packed(kind, found) == image


@pytest.mark.parametrize("name", ENTRY_KINDS)
@pytest.mark.parametrize("pretty", [False, True])
@settings(RELAXED, max_examples=5)
@given(data=st.data())
def test_every_kind_survives_json(name: str, pretty: bool, data: st.DataObject) -> None:
    kind = KINDS[name]
    image = packed(kind, data.draw(entries(kind)))
    text = json.dumps(crit_image.decode(opened(image), pretty))
    fd = os.memfd_create("image")
    crit_image.encode(json.loads(text), fd, "back")
    assert slurp(fd) == image


@st.composite
def damaged(draw: st.DrawFn, image: bytes) -> bytes:
    """The image cut short, with bytes changed, with bytes inserted, or with a size made enormous."""
    position = draw(st.integers(0, len(image)))
    how = draw(st.sampled_from(["cut", "change", "insert", "huge"]))
    if how == "cut":
        return image[:position]
    if how == "insert":
        return image[:position] + draw(st.binary(min_size=1, max_size=9)) + image[position:]
    new = b"\xff\xff\xff\x7f" if how == "huge" else draw(st.binary(min_size=1, max_size=5))
    return image[:position] + new + image[position + len(new) :]


@pytest.mark.parametrize("name", ENTRY_KINDS)
@settings(RELAXED, max_examples=25)
@given(data=st.data())
def test_damage_is_an_image_error_or_harmless(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    image = data.draw(damaged(packed(kind, data.draw(entries(kind)))))
    try:
        read_all(kind, image)
        json.dumps(crit_image.decode(opened(image), pretty=True))
    except ImageError as err:
        assert err.path == str(PATH)
        assert err.offset is not None
        assert 0 <= err.offset <= len(image)


def read_all(kind: ImageKind, image: bytes) -> None:
    for _, payload in read_entries(opened(image), kind):
        payload.bytes()
        if kind.payload is PayloadRule.MSG:
            decode_queue(payload)


HUGE = (1 << 31) - 1
DESC = m.ipc_desc_entry(key=1, uid=0, gid=0, cuid=0, cgid=0, mode=0, id=0)
OVERSIZED: dict[str, tuple[str, Any]] = {
    "a pipe": ("pipes-data", m.pipe_data_entry(pipe_id=1, bytes=HUGE)),
    "a packet": ("sk-queues", m.sk_packet_entry(id_for=1, length=HUGE)),
    "a segment": ("ipcns-shm", m.ipc_shm_entry(desc=DESC, size=(1 << 64) - 1)),
    "semaphores": ("ipcns-sem", m.ipc_sem_entry(desc=DESC, nsems=HUGE)),
    "a queue": ("ipcns-msg", m.ipc_msg_entry(desc=DESC, qbytes=1, qnum=HUGE)),
    "a map": ("bpfmap-data", m.bpfmap_data_entry(map_id=1, keys_bytes=HUGE, values_bytes=HUGE, count=1)),
}


@pytest.mark.parametrize("case", OVERSIZED)
def test_a_promise_of_more_than_the_file_has_allocates_nothing(case: str) -> None:
    name, entry = OVERSIZED[case]
    kind = KINDS[name]
    body = entry.SerializeToString()
    image = header_bytes(kind) + len(body).to_bytes(4, "little") + body
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            read_all(kind, image)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_an_entry_size_beyond_the_file_names_the_byte() -> None:
    kind = KINDS["pstree"]
    image = header_bytes(kind) + b"\xff\xff\xff\x7f"
    with pytest.raises(ImageError, match=r"some.img, byte 12: a pstree_entry needs 2147483647 bytes"):
        read_all(kind, image)


def test_a_missing_required_field_is_named() -> None:
    body = m.pstree_entry(pid=1).SerializePartialToString()
    image = header_bytes(KINDS["pstree"]) + len(body).to_bytes(4, "little") + body
    with pytest.raises(ImageError, match="lacks ppid, pgid, sid"):
        read_all(KINDS["pstree"], image)


def test_another_kind_of_image_is_refused() -> None:
    image = packed(KINDS["pstree"], [])
    with pytest.raises(ImageError, match="no image of kind core"):
        read_all(KINDS["core"], image)


def test_format_1_0_had_one_magic_number() -> None:
    entry = m.pstree_entry(pid=1, ppid=0, pgid=1, sid=1)
    image = packed(KINDS["pstree"], [(entry, None)])
    assert unpacked(KINDS["pstree"], image[4:]) == [(entry, b"")]


def test_a_file_that_shrinks_meanwhile_is_an_error() -> None:
    kind = KINDS["pipes-data"]
    size = 1 << 18
    image = packed(kind, [(m.pipe_data_entry(pipe_id=1, bytes=size), bytes(size))])
    file = opened(image)
    [(_, payload)] = read_entries(file, kind)
    os.ftruncate(file.fd, 100)
    with pytest.raises(ImageError, match="became shorter"):
        payload.bytes()


@pytest.mark.parametrize("make", ["mkfifo", "mkdir"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, make: str) -> None:
    getattr(os, make)(tmp_path / "pstree.img")
    with ImageDirectory.open(tmp_path) as directory, pytest.raises(ImageError, match="regular file"):
        directory.read("pstree")
