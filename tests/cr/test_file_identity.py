"""Files are known again at restore, and descriptors that cannot be dumped replaced where that is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from cr.model import CheckpointError
from cr.resources.files.file_identity import as_words, build_id
from images.directory import ImageDirectory
from tests.cr.harness import Workload


def identity(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return build_id(fd)
    finally:
        os.close(fd)


def test_the_build_id_of_a_program() -> None:
    path = Path("/bin/true")
    with path.open("rb") as file:
        notes = ELFFile(file).get_section_by_name(".note.gnu.build-id").iter_notes()
        expected = next(notes)["n_desc"]
    assert identity(path).hex() == expected


def test_files_that_have_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    head = Path("/bin/true").read_bytes()[:4096]
    for content in (
        b"",
        b"\x7fELF\x02\x01",
        b"#!/bin/sh\n",
        head[:100],
        head[:32] + b"\xff" * 4064,
        b"\x7fELF\x01" * 99,
    ):
        path.write_bytes(content)
        assert identity(path) == b""


def test_words() -> None:
    assert as_words(b"\1\2\3\4\5") == [0x04030201, 5]
    assert as_words(b"") == []


@pytest.fixture
def dumped(tmp_path: Path) -> Iterator[Workload]:
    with Workload("replaced_files", tmp_path) as workload:
        workload.dump()
        yield workload


@pytest.mark.root
def test_a_log_that_grew(dumped: Workload) -> None:
    log = dumped.directory / "log"
    log.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"has 0 bytes, but had 7 .*: restore it first\n"):
        dumped.restore(accept_grown=True)
    log.write_bytes(b"before\nlater!\n")
    with pytest.raises(CheckpointError, match=r"has 14 bytes, but had 7 .* accept it with --accept-grown"):
        dumped.restore()
    dumped.restore(accept_grown=True)
    dumped.check()


@pytest.mark.root
def test_permissions(dumped: Workload) -> None:
    (dumped.directory / "place").chmod(0o700)
    with pytest.raises(CheckpointError, match=r"has the permissions 0700, but had 0755 .* --skip-file-rwx-check"):
        dumped.restore()
    dumped.restore(skip_file_rwx_check=True)
    dumped.check()


@pytest.mark.root
def test_another_build_of_a_program(dumped: Workload) -> None:
    program = dumped.directory / "program"
    own = identity(program)
    program.write_bytes(program.read_bytes().replace(own, own[::-1]))
    with pytest.raises(CheckpointError, match="program is another build of this program"):
        dumped.restore()
    dumped.restore(file_validation="filesize")
    dumped.check()


@pytest.mark.root
def test_the_images_hold_build_ids_unless_told_otherwise(tmp_path: Path) -> None:
    with Workload("replaced_files", tmp_path) as workload:
        for method, wanted in (("filesize", []), ("buildid", as_words(identity(Path("/bin/true"))))):
            workload.dump(leave_running=True, file_validation=method)
            with ImageDirectory.open(str(workload.images)) as images:
                entries = {entry.reg.name: entry.reg for entry in images.read("files") if entry.HasField("reg")}
            assert list(entries[str(tmp_path / "program")].build_id) == wanted
        workload.check()


@pytest.mark.root
@pytest.mark.parametrize("pattern", ["all", "anon_inode:?userfaultfd?"])
def test_a_stub_on_request(pattern: str, tmp_path: Path) -> None:
    with Workload("stubs", tmp_path) as workload:
        with pytest.raises(CheckpointError, match="userfaultfd"):
            workload.dump(stub=["anon_inode:?perf_event?"])
        workload.dump(stub=[pattern])
        workload.restore()
        workload.check()


@pytest.mark.root
def test_a_stub_for_a_device(tmp_path: Path) -> None:
    device = Path("/dev/cpu_dma_latency")
    if not device.exists():
        pytest.skip(f"this kernel lacks {device}")
    with Workload("stubs", tmp_path, [str(device)]) as workload:
        with pytest.raises(CheckpointError, match="is a character device"):
            workload.dump()
        workload.dump(stub=[str(device)])
        workload.restore()
        workload.check()
