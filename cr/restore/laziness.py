"""Restore without waiting for all pages: the lazy-pages daemon brings the others (--lazy-pages)."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right

from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import missing_pages as kernel
from cr.kernel.pidfd import pidfd_getfd, pidfd_open
from cr.lazy_pages.channel import Sender
from cr.lazy_pages.which import lazy_mappings, lazy_spans
from cr.model import CheckpointError
from cr.remote.program import Program
from cr.restore.handover import Channel
from cr.restore.inheritance import Span, end_of, part, subtract
from images.pages import PagemapReader, PageSource

_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK


def mappings_of(task: RestoreTask, reader: PagemapReader, context: RestoreContext) -> list[Span]:
    """The mappings of a task whose pages come later."""
    if not context.options.lazy_pages or task.mm is None:
        return []
    mm = task.mm
    return context.once(("lazy mappings", task.vpid), lambda: lazy_mappings(mm, reader))


def eager(sources: list[PageSource], reader: PagemapReader, mappings: list[Span]) -> list[PageSource]:
    """The pages that a task gets at once."""
    later = lazy_spans(mappings, reader)
    if not later:
        return sources
    found: list[PageSource] = []
    for source in sources:
        span = source.vaddr, end_of(source)
        found += [part(source, start, end) for start, end in subtract([span], _touching(later, span))]
    return found


def _touching(later: list[Span], span: Span) -> list[Span]:
    """Those ascending spans that touch one."""
    first = bisect_right(later, span[0], key=lambda hole: hole[1])
    return later[first : bisect_left(later, span[1], key=lambda hole: hole[0])]


class Laziness:
    """The userfaultfds of this restore; made before any task is, so that a missing daemon is noticed."""

    def __init__(self, context: RestoreContext) -> None:
        self.context = context
        self.sender = Sender(context.options)
        self.fds: list[tuple[RestoreTask, int]] = []
        try:
            self._device = os.open(kernel.DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):  # runc moves us into the cgroup of its container: no such device
            self._device = -1

    def watch(self, task: RestoreTask, channel: Channel) -> None:
        """Make a userfaultfd for the memory of a puppet, ours alone."""
        if not self.context.once(("lazy mappings", task.vpid), list[Span]):
            return
        program = Program()
        if self._device >= 0:
            (slot,) = channel.give(program, [self._device])
            made = program.call("ioctl", slot, kernel.NEW, _FLAGS, note="a userfaultfd")
            program.call("close", slot)
        else:
            made = program.call("userfaultfd", _FLAGS)
        self.context.run(task.leader, program)
        self.fds.append((task, self._fetch(task, made.value)))
        program = Program()
        program.call("close", made.value)
        self.context.run(task.leader, program)

    def _fetch(self, task: RestoreTask, number: int) -> int:
        pidfd = pidfd_open(task.puppet.tid)
        try:
            return pidfd_getfd(pidfd, number)
        finally:
            os.close(pidfd)

    def hand_over(self) -> None:
        """All address spaces are there, nothing forks any more: whoever misses a page now gets it from the daemon."""
        for task, fd in self.fds:
            try:
                kernel.shake_hands(fd)
                for start, end in self.context.shared[("lazy mappings", task.vpid)]:
                    kernel.register(fd, start, end)
            except OSError as error:
                raise CheckpointError(
                    f"userfaultfd(2) does not take the memory of {task}: {error.strerror}; restore without --lazy-pages"
                ) from error
            self.sender.hand_over(task.vpid, fd)
        self._close_fds()

    def finish(self) -> None:
        """The tasks are about to run."""
        self.sender.finished()
        self.close()

    def close(self) -> None:
        self._close_fds()
        self.sender.close()
        if self._device >= 0:
            os.close(self._device)
            self._device = -1

    def _close_fds(self) -> None:
        for _, fd in self.fds:
            os.close(fd)
        self.fds = []


def laziness(context: RestoreContext) -> Laziness | None:
    """Where --lazy-pages is asked for."""
    if not context.options.lazy_pages:
        return None
    return context.once("laziness", lambda: Laziness(context))
