"""Images whose vDSO is not this kernel's: programs go on, and their clocks are this kernel's."""

from __future__ import annotations

import io
import os
import struct
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from cr.model import BadImages, CheckpointError
from cr.restore.foreign_vdso import functions, our_code, patches_of
from images.directory import ImageDirectory
from images.kinds import VmaStatus
from images.pages import PAGE_SIZE, PagemapReader
from tests.cr.harness import Workload

UNDEFINED = b"\x0f\x0b"  # ud2


def foreign(code: bytes) -> bytes:
    """A vDSO with another table of symbols, in which every function is deadly."""
    table = ELFFile(io.BytesIO(code)).get_section_by_name(".dynsym")
    changed = bytearray(code)
    for number, symbol in enumerate(table.iter_symbols()):
        start, size = symbol["st_value"], symbol["st_size"]
        if size:
            changed[start : start + size] = (UNDEFINED * size)[:size]
        if symbol.name == "time":
            struct.pack_into("<Q", changed, table["sh_offset"] + number * table["sh_entsize"] + 8, start + 16)
    return bytes(changed)


def make_foreign(images: Path) -> int:
    """As if another kernel had made the dump; how many tasks there are."""
    with ImageDirectory.open(images) as directory:
        tasks = [pid for (pid,) in directory.ids("mm")]
        for pid in tasks:
            mm = directory.read_one("mm", pid)
            start = next(vma.start for vma in mm.vmas if vma.status & VmaStatus.VDSO)
            with PagemapReader(directory, "pagemap", pid) as reader:
                source = next(source for source in reader.sources() if source.vaddr == start)
                path = Path(images, f"pages-{source.pages_id}.img")
            with path.open("r+b") as pages:
                assert source.offset is not None
                pages.seek(source.offset)
                code = foreign(pages.read(source.nr_pages * PAGE_SIZE))
                pages.seek(source.offset)
                pages.write(code)
    return len(tasks)


def vdso_of(pid: int) -> list[str]:
    """Its range, and its name."""
    lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    (found,) = [[line[0], line[5]] for line in lines if line[-1] == "[vdso]"]
    return found


@pytest.mark.root
@pytest.mark.parametrize("name", ["mixed", "tree", "threads"])
def test_the_program_goes_on(name: str, tmp_path: Path) -> None:
    with Workload(name, tmp_path) as workload:
        before = vdso_of(workload.pid)
        workload.dump()
        assert make_foreign(workload.images)
        root = workload.restore()
        after = vdso_of(root)
        assert after[1] == "[vdso]"
        assert after[0] != before[0]
        workload.dump()  # and on, as a task with code that is nobody's
        make_foreign(workload.images)
        workload.restore()
        workload.check()


def place_threads(images: Path, offset: int) -> None:
    """Let every thread stand at an offset of the vDSO."""
    with ImageDirectory.open(images) as directory:
        for (pid,) in directory.ids("core"):
            core = directory.read_one("core", pid)
            if directory.exists("mm", pid):
                mm = directory.read_one("mm", pid)
                start = next(vma.start for vma in mm.vmas if vma.status & VmaStatus.VDSO)
                core.thread_info.gpregs.ip = start + offset
                directory.write("core", pid, entries=[core])


@pytest.mark.root
def test_a_thread_inside_of_it_is_refused(tmp_path: Path) -> None:
    with Workload("plain", tmp_path) as workload:
        workload.dump()
        make_foreign(workload.images)
        place_threads(workload.images, functions(our_code())["clock_gettime"] + 5)
        with pytest.raises(CheckpointError, match="inside a function"):
            workload.restore()


def places(images: Path) -> list[tuple[int, int]]:
    """Where each task goes on, and where its vDSO is."""
    found = []
    with ImageDirectory.open(images) as directory:
        for (pid,) in directory.ids("mm"):
            start = next(vma.start for vma in directory.read_one("mm", pid).vmas if vma.status & VmaStatus.VDSO)
            found.append((directory.read_one("core", pid).thread_info.gpregs.ip, start))
    return found


@pytest.mark.root
def test_no_thread_is_dumped_inside_of_it(tmp_path: Path) -> None:
    with Workload("clock_reader", tmp_path) as workload:
        for _ in range(5):
            workload.dump(leave_running=True)
            for place, start in places(workload.images):
                assert not start <= place < start + len(our_code())
        workload.check()


def test_every_function_leads_on() -> None:
    code = our_code()
    new = functions(code)
    assert {"clock_gettime", "gettimeofday", "time", "getcpu"} <= new.keys()
    patches = {each.address: each.code for each in patches_of(code, 0x1000, new, 0x7000)}
    assert patches[0x1000 + new["time"]] == b"\x48\xb8" + struct.pack("<Q", 0x7000 + new["time"]) + b"\xff\xe0"
    without = {each.address: each.code for each in patches_of(code, 0, {}, 0)}
    assert without[new["time"]] == b"\xb8\xc9\0\0\0\x0f\x05\xc3"  # time(2) is number 201


def test_what_is_no_vdso_is_noticed() -> None:
    with pytest.raises(BadImages, match="cannot be read"):
        functions(os.urandom(64))


def test_our_own_vdso_is_found() -> None:
    assert our_code().startswith(b"\x7fELF")
    assert time.time() > 0
