"""What a child keeps of its parent's memory: planned without any process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cr.restore.chain import Chain
from cr.restore.inheritance import end_of, heritage, intersect, page_work, subtract
from cr.restore.likeness import PageFiles
from images import messages as m
from images.directory import ImageDirectory
from images.kinds import VmaStatus
from images.pages import PAGE_SIZE, PagemapReader, PageSource, PagesWriter

PRIVATE, SHARED, ANONYMOUS, GROWSDOWN = 2, 1, 0x20, 0x100
ANON = VmaStatus.REGULAR | VmaStatus.ANON_PRIVATE
FILE = VmaStatus.REGULAR | VmaStatus.FILE_PRIVATE

Spans = list[tuple[int, int]]


def vma(start: int, end: int, **fields: int) -> m.vma_entry:
    usual = {"pgoff": 0, "shmid": 0, "prot": 3, "flags": PRIVATE | ANONYMOUS, "status": ANON, "fd": -1}
    return m.vma_entry(start=start * PAGE_SIZE, end=end * PAGE_SIZE, **{**usual, **fields})


def mm(*vmas: m.vma_entry, exe: int = 1, brk: int = 0) -> m.mm_entry:
    names = [f"mm_{name}" for name in ["start_code", "end_code", "start_data", "end_data", "start_stack", "start_brk"]]
    names += [f"mm_{name}" for name in ["arg_start", "arg_end", "env_start", "env_end"]]
    return m.mm_entry(exe_file_id=exe, vmas=vmas, mm_brk=brk, **dict.fromkeys(names, 0))


def kept(parent: m.mm_entry, child: m.mm_entry) -> Spans:
    found = heritage(parent, child)
    return [] if found is None else [(start // PAGE_SIZE, end // PAGE_SIZE) for start, end in found.spans]


def gone(parent: m.mm_entry, child: m.mm_entry) -> Spans:
    found = heritage(parent, child)
    assert found is not None
    return [(start // PAGE_SIZE, end // PAGE_SIZE) for start, end in found.gone]


def test_everything_is_kept_that_is_the_same() -> None:
    parent = mm(vma(16, 32), vma(40, 48, flags=PRIVATE, status=FILE, shmid=7, pgoff=4096))
    assert kept(parent, parent) == [(16, 32), (40, 48)]
    assert gone(parent, parent) == []


def test_after_an_exec_nothing_is_kept() -> None:
    assert heritage(mm(vma(16, 32)), mm(vma(16, 32), exe=2)) is None
    assert heritage(mm(vma(16, 32)), mm(vma(116, 132))) is None


def test_a_mapping_that_has_grown_or_shrunk_is_kept_in_part() -> None:
    assert kept(mm(vma(16, 32)), mm(vma(16, 64))) == [(16, 32)]
    assert kept(mm(vma(16, 32)), mm(vma(20, 24))) == [(20, 24)]
    assert gone(mm(vma(16, 32)), mm(vma(20, 24))) == [(16, 20), (24, 32)]


@pytest.mark.parametrize(
    "change",
    [
        {"prot": 1},
        {"flags": PRIVATE | ANONYMOUS | GROWSDOWN},
        {"flags": PRIVATE, "status": FILE, "shmid": 3},
        {"madv": 1 << 16},
    ],
)
def test_what_differs_is_not_kept(change: dict[str, int]) -> None:
    assert kept(mm(vma(4, 8), vma(16, 32)), mm(vma(4, 8), vma(16, 32, **change))) == [(4, 8)]
    assert gone(mm(vma(4, 8), vma(16, 32)), mm(vma(4, 8), vma(16, 32, **change))) == [(16, 32)]


@pytest.mark.parametrize("advice", [10, 18])
def test_what_fork_does_not_pass_on_is_not_kept(advice: int) -> None:
    parent = mm(vma(4, 8), vma(16, 32, madv=1 << advice))
    assert kept(parent, parent) == [(4, 8)]


def test_files_are_kept_at_the_same_offset_only() -> None:
    def file(offset: int) -> m.mm_entry:
        return mm(vma(4, 8), vma(16, 32, flags=PRIVATE, status=FILE, shmid=3, pgoff=offset))

    assert kept(file(0), file(0)) == [(4, 8), (16, 32)]
    assert kept(file(0), file(4096)) == [(4, 8)]


def test_the_vdso_is_kept_whole_or_not_at_all() -> None:
    vvar, vdso = (vma(100, 104, status=VmaStatus.VVAR), vma(104, 106, status=VmaStatus.VDSO))
    assert kept(mm(vma(4, 8), vvar, vdso), mm(vma(4, 8), vvar, vdso)) == [(4, 8), (100, 104), (104, 106)]
    assert kept(mm(vma(4, 8), vvar, vdso), mm(vma(4, 8), vdso)) == [(4, 8)]


def test_guards_that_only_the_parent_has_are_removed() -> None:
    guard = vma(20, 22, status=VmaStatus.GUARD, prot=0, flags=0)
    found = heritage(mm(vma(16, 32), guard), mm(vma(16, 32)))
    assert found is not None
    assert found.guards_gone == [(20 * PAGE_SIZE, 22 * PAGE_SIZE)]


def test_new_borders_are_noticed() -> None:
    same, other = heritage(mm(vma(4, 8)), mm(vma(4, 8))), heritage(mm(vma(4, 8)), mm(vma(4, 8), brk=5))
    assert same is not None and same.described
    assert other is not None and not other.described


@st.composite
def spans(draw: st.DrawFn) -> Spans:
    """Ascending spans of at least one page, with or without gaps."""
    cuts = sorted(draw(st.sets(st.integers(0, 60), max_size=20)))
    return list(zip(cuts[::2], cuts[1::2], strict=False))


def pages(found: Spans) -> set[int]:
    return {page for start, end in found for page in range(start, end)}


@given(spans(), spans())
def test_spans_are_sets_of_pages(one: Spans, other: Spans) -> None:
    assert pages(list(subtract(one, other))) == pages(one) - pages(other)
    assert pages(list(intersect(one, other))) == pages(one) & pages(other)


def sources(directory: ImageDirectory, pages_id: int, found: Spans) -> list[PageSource]:
    offset, made = 0, []
    for start, end in found:
        made.append(PageSource(start * PAGE_SIZE, end - start, directory, pages_id, offset * PAGE_SIZE))
        offset += end - start
    return made


@given(spans(), spans(), spans(), st.sets(st.integers(0, 60)))
def test_page_work_makes_the_parents_pages_the_childs(keeps: Spans, mine: Spans, theirs: Spans, new: set[int]) -> None:
    """After reading and dropping, every page is the child's, and nothing is read that was the same."""

    def differing(one: PageSource, other: PageSource) -> Spans:
        assert (one.vaddr, one.nr_pages) == (other.vaddr, other.nr_pages)
        first = one.vaddr // PAGE_SIZE
        return [(p * PAGE_SIZE, (p + 1) * PAGE_SIZE) for p in range(first, first + one.nr_pages) if p in new]

    directory = ImageDirectory(-1, Path("nowhere"))
    own, born = sources(directory, 1, mine), sources(directory, 2, theirs)
    read, drop = page_work([(a * PAGE_SIZE, b * PAGE_SIZE) for a, b in keeps], own, born, differing)
    reads = pages([(source.vaddr // PAGE_SIZE, end_of(source) // PAGE_SIZE) for source in read])
    drops = pages([(start // PAGE_SIZE, end // PAGE_SIZE) for start, end in drop])
    inherited = pages(theirs) & pages(keeps)
    assert drops == inherited - pages(mine)
    assert reads == pages(mine) - (inherited - new)
    offsets = {
        source.vaddr // PAGE_SIZE + i: source.offset // PAGE_SIZE + i for source in read for i in range(source.nr_pages)
    }
    expected = {s.vaddr // PAGE_SIZE + i: s.offset // PAGE_SIZE + i for s in own for i in range(s.nr_pages)}
    assert all(expected[page] == offset for page, offset in offsets.items())


def test_pages_images_are_compared_page_by_page(tmp_path: Path) -> None:
    content = [bytes([number % 251]) * PAGE_SIZE for number in range(600)]
    changed = [page if number % 100 != 50 else b"other".ljust(PAGE_SIZE) for number, page in enumerate(content)]
    with ImageDirectory.create(tmp_path / "images") as directory:
        for number, data in enumerate((content, changed), 1):
            with PagesWriter(directory, "pagemap", number, number) as writer:
                writer.append(0x10000, b"".join(data))
        one, other = (next(PagemapReader(directory, "pagemap", number).sources()) for number in (1, 2))
        found = list(PageFiles().differing(one, other))
        assert [(start - 0x10000) // PAGE_SIZE for start, _ in found] == list(range(50, 600, 100))
        assert all(end - start == PAGE_SIZE for start, end in found)
        assert list(PageFiles().differing(one, one)) == []


def test_where_nothing_is_alike_whole_blocks_differ(tmp_path: Path) -> None:
    with ImageDirectory.create(tmp_path / "images") as directory:
        for number in (1, 2):
            with PagesWriter(directory, "pagemap", number, number) as writer:
                writer.append(0x10000, bytes([number]) * PAGE_SIZE * 300)
        one, other = (next(PagemapReader(directory, "pagemap", number).sources()) for number in (1, 2))
        found = pages(
            [((a - 0x10000) // PAGE_SIZE, (b - 0x10000) // PAGE_SIZE) for a, b in PageFiles().differing(one, other)]
        )
        assert found == set(range(300))


def test_a_chain_begins_a_new_program_when_one_is_full() -> None:
    chain = Chain(4096)
    for number in range(200):
        chain.call("munmap", number * 4096, 4096)
    assert sum(len(program.calls) for program in chain.programs) == 200
    assert len(chain.programs) > 3
    assert all(program.size <= 4096 for program in chain.programs)
