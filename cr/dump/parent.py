"""The snapshot that a dump builds on (--prev-images-dir)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from cr.contract.dumping import DumpContext
from cr.dump.pages import Span
from cr.model import CheckpointError
from images.directory import ImageDirectory
from images.errors import ImageError
from images.pages import PAGE_SIZE, PagemapReader

if TYPE_CHECKING:
    from images import messages as m


class Parent:
    """An earlier snapshot of the same tree, checked; `link` is its path as seen from the new one."""

    def __init__(self, context: DumpContext) -> None:
        self.link = context.options.prev_images_dir
        self.directory = _open(self.link, context.images)
        context.at_end.append(self.directory.close)
        try:
            inventory = self.directory.read_one("inventory")
        except ImageError as error:
            raise CheckpointError(
                f"--prev-images-dir {self.link}: there is no complete snapshot in {self.directory.path}: {error}"
            ) from error
        self.run_id: str = inventory.dump_criu_run_id
        self._context = context

    def check_belongs(self, pids: Iterable[int]) -> None:
        """CheckpointError where it has memory of none of the tasks (by their own pids)."""
        pids = list(pids)
        if self._context.options.page_server:
            self._context.images.link_parent(self.link)  # a page server on this machine finds the parent by it
        if not any(self._has(pid) for pid in pids):
            raise CheckpointError(
                f"--prev-images-dir {self.link}: the snapshot in {self.directory.path} does not belong to this tree, "
                f"it has no memory of task {pids[0]}"
            )

    def pages(self, vpid: int) -> list[Span]:
        """The spans of memory of a task that the parent, or one of its parents, has."""
        return self._context.once(("parent pages", vpid), partial(self._pages, vpid))

    def _has(self, vpid: int) -> bool:
        """A page server is asked; what it was sent at the time stands here."""
        there = self._context.pages.parent_has("pagemap", vpid)
        if there is None:
            return self.directory.exists("pagemap", vpid)
        return there and self.directory.exists("woodfrog-sent", vpid)

    def _pages(self, vpid: int) -> list[Span]:
        if not self._has(vpid):
            return []
        if self._context.options.page_server:
            sent: list[m.pagemap_entry] = self.directory.read("woodfrog-sent", vpid)
            return joined((run.vaddr, run.vaddr + run.nr_pages * PAGE_SIZE) for run in sent)
        with PagemapReader(self.directory, "pagemap", vpid) as reader:
            return joined((run.vaddr, run.end) for run in reader.runs)


def _open(link: str, images: ImageDirectory) -> ImageDirectory:
    try:
        found = images.relative(link)
    except ImageError as error:
        raise CheckpointError(f"--prev-images-dir {link}: {error}") from error
    if found.same_as(images):
        found.close()
        raise CheckpointError(f"--prev-images-dir {link} is the image directory itself: name that of an earlier dump")
    return found


def joined(runs: Iterable[Span]) -> list[Span]:
    """Ascending spans, those that adjoin made one."""
    found: list[Span] = []
    for start, end in runs:
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        else:
            found.append((start, end))
    return found
