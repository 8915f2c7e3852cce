"""What cannot be dumped is refused with a sentence, and the tree runs on; what was left out is handed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cr.model import CheckpointError, Refused
from tests.cr.harness import Workload, alive

pytestmark = pytest.mark.root


def refusals(workload: Workload, **options: object) -> str:
    with pytest.raises(Refused) as caught:
        workload.dump(**options)
    assert alive(workload.pid)
    return str(caught.value)


def test_every_reason_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with Workload("refused", tmp_path) as workload:
        text = refusals(workload)
        assert "use --file-locks" in text
        assert "has other names elsewhere: use --link-remap" in text
        assert "use --ghost-limit 3145728" in text
        for kind in ("userfaultfd", "memfd_secret"):
            assert kind in text or not (tmp_path / kind).exists()
        assert not [name for name in os.listdir(tmp_path) if name.startswith("link_remap")]
        workload.check()


def test_a_pidfd_of_a_stranger_is_refused(tmp_path: Path) -> None:
    with Workload("outside", tmp_path, ["pidfd"]) as workload:
        assert "is a pidfd of process" in refusals(workload)
        workload.check()


def test_a_failed_dump_takes_its_links_back(tmp_path: Path) -> None:
    with Workload("refused", tmp_path) as workload:
        refusals(workload, link_remap=True, file_locks=True)
        assert not [name for name in os.listdir(tmp_path) if name.startswith("link_remap")]
        workload.check()


def test_a_file_that_changed_its_size_is_not_taken(tmp_path: Path) -> None:
    with Workload("outside", tmp_path) as workload:
        workload.dump()
        with (tmp_path / "plain").open("a") as file:
            file.write("longer")
        with pytest.raises(CheckpointError, match=r"plain has 11 bytes, but had 5"):
            workload.restore()


def external(workload: Workload) -> str:
    info = Path(f"/proc/{workload.pid}/fdinfo/50").read_text().split()
    mnt_id = int(info[info.index("mnt_id:") + 1])
    return f"file[{mnt_id:x}:{os.stat(f'/proc/{workload.pid}/fd/50').st_ino:x}]"


def test_files_left_out_come_from_us(tmp_path: Path) -> None:
    with Workload("outside", tmp_path) as workload:
        name = external(workload)
        pipe = os.readlink(f"/proc/{workload.pid}/fd/51")
        workload.dump(external=[name])
        with pytest.raises(CheckpointError, match="was left out of the images: name it with --inherit-fd"):
            workload.restore()
        reader, writer = os.pipe()
        other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
        try:
            workload.restore(inherit_fd=[f"fd[{other}]:{name}", f"fd[{writer}]:{pipe}"])
            workload.check()
            assert os.read(reader, 100) == b"through our pipe"
            assert not os.get_blocking(writer)  # as the program had it
            assert (tmp_path / "other").read_text() == "into our file"
        finally:
            for fd in (reader, writer, other):
                os.close(fd)
