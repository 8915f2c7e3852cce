"""The memory images of a tree, checked before any process is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.contract.vma import vma_resource
from cr.model import BadImages
from cr.restore import laziness
from cr.restore.inheritance import end_of, kernel_made, mapped, subtract
from images.kinds import VmaStatus
from images.pages import PagemapReader, PageSource

if TYPE_CHECKING:
    from images import messages as m

_ANON_SHARED = int(VmaStatus.ANON_SHARED)
_SHARED = _ANON_SHARED | int(VmaStatus.SYSVIPC | VmaStatus.AIORING)
TASK_SIZE = 0x7FFFFFFFF000


def page_sources(task: RestoreTask, context: RestoreContext) -> list[PageSource]:
    """Where the bytes of a task's pages are, of those that are not brought later; the pages images have these sizes.

    criu writes the pages of the vDSO too, which the kernel maps by itself.
    """

    def read() -> list[PageSource]:
        reader = page_reader(task, context)
        made = kernel_made(task.mm) if task.mm is not None else []
        sources = [s for s in reader.sources() if not any(start <= s.vaddr < end for start, end in made)]
        return laziness.eager(sources, reader, laziness.mappings_of(task, reader, context))

    return context.once(("page sources", task.vpid), read)


def page_reader(task: RestoreTask, context: RestoreContext) -> PagemapReader:
    """The pagemap of a task as it is in the images."""

    def read() -> PagemapReader:
        reader = PagemapReader(context.images, "pagemap", task.vpid)
        context.at_end.append(reader.close)
        return reader

    return context.once(("pagemap", task.vpid), read)


def check(context: RestoreContext) -> None:
    """BadImages or ImageError where memory images are torn or do not fit together."""
    shared: set[int] = set()
    for task in context.tasks:
        if task.mm is None:
            continue
        _check_mappings(task)
        _check_pages(task, context)
        shared |= {vma.shmid for vma in mapped(task.mm) if vma.status & _SHARED == _ANON_SHARED}
    for shmid in sorted(shared):
        PagemapReader(context.images, "pagemap-shmem", shmid).close()


def _check_mappings(task: RestoreTask) -> None:
    assert task.mm is not None
    last = 0
    for vma in mapped(task.mm):
        what = f"mm-{task.vpid}.img: the mapping {vma.start:#x}-{vma.end:#x}"
        if not last <= vma.start < vma.end or (vma.start | vma.end) & 0xFFF:
            raise BadImages(f"{what} cannot be: it overlaps another one, or is not of whole pages")
        last = vma.end
        try:
            kind = vma_resource(vma.status)
        except LookupError as error:
            raise BadImages(f"{what} is of a kind that we do not know (status {vma.status:#x})") from error
        if vma.end > TASK_SIZE and (kind.recreated or kind.own_way):
            raise BadImages(f"{what} is beyond the addresses that a task has")


def _check_pages(task: RestoreTask, context: RestoreContext) -> None:
    assert task.mm is not None
    for start, _ in subtract(_spans(page_sources(task, context)), list(_room(task.mm))):
        raise BadImages(f"pagemap-{task.vpid}.img has a page at {start:#x}, where nothing is mapped")


def _spans(sources: list[PageSource]) -> Iterator[tuple[int, int]]:
    return ((source.vaddr, end_of(source)) for source in sources)


def _room(mm: m.mm_entry) -> Iterator[tuple[int, int]]:
    """Where page contents may go."""
    return ((vma.start, vma.end) for vma in mapped(mm) if vma_resource(vma.status).private_pages)
