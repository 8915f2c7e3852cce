"""Ranges registered with userfaultfd(2) again: pages as they were first, then the registration, then their marks."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from cr.kernel import faults, missing_pages, mman, pagemap
from cr.model import CheckpointError
from cr.remote.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cr.contract.restoring import RestoreContext, RestoreTask
    from images import messages as m

    Work = list[tuple[RestoreTask, int, m.woodfrog_userfaultfd_entry]]

_THERE = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED
_ATTEMPTS = 3


def register(work: Work, context: RestoreContext) -> None:
    """(task, our descriptor, entry) of each userfaultfd; nothing of ours touches the tasks' memory any more."""
    ranges = [(task, fd, each) for task, fd, entry in work for each in entry.range]
    for task, _, each in ranges:
        _drop(_superfluous(task, each), task, context)
    for task, fd, each in ranges:
        try:
            _register(task, fd, each, context)
            _mark(fd, each)
        except OSError as error:
            raise CheckpointError(
                f"userfaultfd(2) does not take {each.start:#x}-{each.end:#x} of {task} back: {error.strerror}"
            ) from error


def _register(task: RestoreTask, fd: int, each: m.woodfrog_userfaultfd_range, context: RestoreContext) -> None:
    """From here on no page comes that nobody brings; the kernel may have made a huge one right before."""
    for _ in range(_ATTEMPTS):
        faults.register(fd, each.start, each.end, each.modes)
        left = _superfluous(task, each)
        if not left:
            return
        faults.unregister(fd, each.start, each.end)
        _drop(left, task, context)
    raise CheckpointError(f"pages of {task} that are to be missing come by themselves (huge pages): restore it again")


def _superfluous(task: RestoreTask, each: m.woodfrog_userfaultfd_range) -> list[tuple[int, int]]:
    """What is populated and must not be: huge pages are larger than what was read into them."""
    if not each.private:
        return []
    fd = os.open(f"/proc/{task.puppet.tid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        runs = pagemap.scan_with_guards(fd, each.start, each.end, any_of=_THERE, all_of=0, invert=0)
    finally:
        os.close(fd)
    populated = ((start, end) for start, end, found in runs if not found & pagemap.PAGE_IS_GUARD)
    return list(_without(populated, each.present))


def _without(spans: Iterable[tuple[int, int]], holes: Iterable[Any]) -> Iterable[tuple[int, int]]:
    """Ascending spans without ascending others."""
    taken = [(hole.start, hole.end) for hole in holes]
    index = 0
    for start, end in spans:
        while index < len(taken) and taken[index][1] <= start:
            index += 1
        position = index
        while position < len(taken) and taken[position][0] < end:
            if start < taken[position][0]:
                yield start, taken[position][0]
            start = taken[position][1]
            position += 1
        if start < end:
            yield start, end


def _drop(spans: list[tuple[int, int]], task: RestoreTask, context: RestoreContext) -> None:
    program = Program()
    for start, end in spans:
        context.make_room(task.leader, program)
        program.call("madvise", start, end - start, mman.MADV_DONTNEED_LOCKED, note="pages that are to be missing")
    context.run(task.leader, program)


def _mark(fd: int, each: m.woodfrog_userfaultfd_range) -> None:
    for span in each.zero:
        _bring(missing_pages.zero, fd, span)
    for span in each.mapped:
        faults.map_again(fd, span.start, span.end)
    for span in each.poisoned:
        _bring(missing_pages.poison, fd, span)
    for span in each.protected:
        faults.protect(fd, span.start, span.end)


def _bring(call: Any, fd: int, span: Any) -> None:
    start = span.start
    while start < span.end:
        done, code = call(fd, start, span.end - start)
        if code and code != errno.EAGAIN:
            raise OSError(code, os.strerror(code))
        start += done
