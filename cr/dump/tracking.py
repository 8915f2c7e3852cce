"""Which pages were written since an earlier snapshot, and keeping track from now on.

    scout           find what tracks the tasks already, open the parent snapshot
    frozen          `unwritten` tells what the parent has, `arm` starts over
    written         `hand_over` to a new tracker, which lives as long as the tasks; or `end`

Whatever fails in between, tracking ends with our descriptors, and the next dump writes everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from cr import log
from cr.contract.dumping import DumpContext, DumpTask, identity
from cr.dump import scratch, tracker, user_faults
from cr.dump.pages import TRACKED, Span
from cr.dump.parent import Parent
from cr.kernel import pagemap, proc, ptrace, userfaultfd
from cr.kernel.pidfd import pidfd_getfd
from cr.options import Options
from cr.remote.critical import critical
from cr.remote.foothold import PROGRAM_OFFSET, Foothold
from cr.remote.program import Program, ProgramError
from cr.values import replace

_OURS = "uw"
"""VmFlags of what a tracker has registered"""
_WRITTEN_UNSEEN = ("/[aio]", "anon_inode:[io_uring]")
"""rings by which requests are made that write to memory which they have pinned before"""
SOFT_DIRTY = -1
_UNKNOWN = -2


class Tracking:
    """The tracking of one tree during one dump."""

    def __init__(self, context: DumpContext) -> None:
        self.context = context
        self.parent = Parent(context) if context.options.prev_images_dir else None
        self._trackers: list[tracker.Tracker] | None = None
        self._fds: dict[tracker.Identity, int] = {}
        self._ended = False
        self._registered = False
        """whether a task has memory that looks as if a tracker had registered it"""
        self._starting: tracker.Starting | None = None
        self._armed: list[tracker.Tracked] = []
        context.at_end.append(self._close)
        if self.parent is not None or context.options.track_mem:
            self._look()

    def recognise(self, task: DumpTask) -> None:
        """Let mappings that are registered for our own tracking look like any others."""
        if not any(_OURS in mapping.flags for mapping in task.mappings):
            return
        self._registered = True
        if (found := self._tracker(task)) is not None:
            theirs = self._of_the_program(task, found)
            task.mappings = [
                each if each in theirs else replace(each, flags=each.flags - {_OURS}) for each in task.mappings
            ]

    def _of_the_program(self, task: DumpTask, found: tracker.Tracker) -> set[proc.Mapping]:
        """Of a frozen task: what is registered with a userfaultfd of the program's, and so not with the tracker's."""
        if not self.context.tasks or not user_faults.in_use(self.context):
            return set()
        marked = {mapping for mapping in task.mappings if _OURS in mapping.flags}
        fd = found.take(_identity(task))
        if fd < 0:
            return marked
        try:
            return {each for each in marked if not userfaultfd.has_registered(fd, each.start, each.end)}
        finally:
            os.close(fd)

    def knows(self, task: DumpTask) -> bool:
        """Whether it is known what the task has written since the parent snapshot."""
        found = self._tracker(task) if self.parent is not None else None
        return (
            found is not None and bool(found.run_id) and self.parent is not None and found.run_id == self.parent.run_id
        )

    def concerns(self, task: DumpTask) -> bool:
        """Whether it matters what the task itself has written: its copies are not tracked."""
        return goes_on(self.context.options) or self.knows(task)

    def report(self, tasks: list[DumpTask]) -> None:
        """Link to the parent where it is of use, and say where it is not."""
        if self.parent is None:
            return
        known = any(self.knows(task) for task in tasks)
        if known:
            self.context.images.link_parent(self.parent.link)  # a page server at the same directory looks for it
        if known or not self.context.options.page_server:
            self._check_parent(self.parent, tasks)
        if not known:
            self._warn(self.parent, tasks[0])

    def _check_parent(self, parent: Parent, tasks: list[DumpTask]) -> None:
        try:
            parent.check_belongs(task.vpid for task in tasks)
        except BaseException:
            self.context.images.discard()  # the link
            raise

    def _warn(self, parent: Parent, task: DumpTask) -> None:
        log.warning(
            f"what {task} has written since the snapshot in {parent.link} is not known "
            "(it is not the last one, its tracker has ended, or a ring lets devices write there): all memory is written"
        )

    def written_since(self, task: DumpTask) -> int:
        """Categories of PAGEMAP_SCAN of which a page has one if it was written; 0 where nothing is known."""
        if not self.knows(task) or user_faults.in_use(self.context):
            return 0
        found = self._tracker(task)
        assert found is not None
        soft = found.rows[_identity(task)] == SOFT_DIRTY
        return pagemap.PAGE_IS_SOFT_DIRTY if soft else TRACKED

    def arm(self, task: DumpTask, private: list[Span]) -> None:
        """From now on, writes to these spans are noted.  The task stands still."""
        self._end_trackers()
        if any(mapping.path.startswith(_WRITTEN_UNSEEN) for mapping in task.mappings):
            log.info(f"{task} has memory that devices may write to without a page fault: it is not tracked")
            return
        if user_faults.in_use(self.context):
            log.info(f"{task} is not tracked: what is registered for it cannot be with a userfaultfd of the program's")
            return
        key = ("tracked memory", task.ids["vm_id"])
        fd = self.context.once(key, partial(self._armed_fd, task, private))
        if fd != _UNKNOWN:
            self._armed.append(tracker.Tracked(task.pid, task.stat.start_time, fd))

    def hand_over(self, run_id: str) -> None:
        """Start the process that keeps the tracking; call `keep` when the snapshot is complete."""
        if self._armed:
            self._starting = tracker.Starting(run_id, self._armed)

    def keep(self) -> None:
        if self._starting is not None:
            self._starting.go()
            self._starting = None

    def end(self) -> None:
        """The tasks run on, and nobody asked to track them further.

        Soft-dirty bits are everywhere where a kernel has them; only then all processes have to be looked at.
        """
        if self._registered or pagemap.has_soft_dirty():
            self._end_trackers()

    def _close(self) -> None:
        if self._starting is not None:
            self._starting.give_up()
        for fd in {*self._fds.values(), *(row.fd for row in self._armed)}:
            if fd >= 0:
                os.close(fd)
        for found in self._trackers or []:
            os.close(found.pidfd)

    def _look(self) -> list[tracker.Tracker]:
        if self._trackers is None:
            self._trackers = list(tracker.running())
        return self._trackers

    def _tracker(self, task: DumpTask) -> tracker.Tracker | None:
        return next((each for each in self._look() if _identity(task) in each.rows), None)

    def _end_trackers(self) -> None:
        """Take what they hold of our tasks, and end them: they are out of date from here on."""
        if self._ended:
            return
        self._ended = True
        ours = {_identity(task) for task in self.context.live_tasks}
        for each in [found for found in self._look() if ours & found.rows.keys()]:
            for task in ours & each.rows.keys():
                self._fds[task] = each.take(task)
            each.end()

    def _armed_fd(self, task: DumpTask, private: list[Span]) -> int:
        fd = self._fds.pop(_identity(task), None)
        if fd is None:
            fd = make(task)
        if fd >= 0:
            _protect(task.pid, list(_registered(fd, private)))
        elif fd == SOFT_DIRTY:
            pagemap.clear_soft_dirty(task.pid)
        return fd


def _identity(task: DumpTask) -> tracker.Identity:
    return task.pid, task.stat.start_time


def _registered(fd: int, private: list[Span]) -> Iterator[Span]:
    """Those spans that the kernel tracks; the pages of others count as written every time."""
    for start, end in private:
        try:
            userfaultfd.register(fd, start, end)
        except OSError as error:
            log.debug(f"writes to {start:#x}-{end:#x} cannot be tracked: {error}")
        else:
            yield start, end


def _protect(pid: int, private: list[Span]) -> None:
    wanted = pagemap.PAGE_IS_PRESENT | pagemap.PAGE_IS_SWAPPED
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for start, end in private:
            pagemap.protect(fd, start, end, any_of=wanted)
    finally:
        os.close(fd)


def make(task: DumpTask) -> int:
    """What tracks the memory of a frozen task: a userfaultfd, else SOFT_DIRTY, else the task stays untracked."""
    try:
        fd = _fetch(task)
        try:
            userfaultfd.shake_hands(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd
    except OSError as error:
        if pagemap.has_soft_dirty():
            return SOFT_DIRTY
        log.warning(f"writes of {task} to its memory cannot be tracked: {error}")
        return _UNKNOWN


def _fetch(task: DumpTask) -> int:
    """Let the task make a userfaultfd, take it over between that call and the next, which closes the task's own.

    The task waits for us in between; should we be killed then, it goes on to close it by itself.
    """
    program = Program()
    made = program.call("userfaultfd", os.O_CLOEXEC | userfaultfd.USER_MODE_ONLY)
    program.call("close", made)
    size = (PROGRAM_OFFSET + program.size + 0xFFF) & ~0xFFF
    tracee, who = task.leader.tracee, identity(task.leader)
    with critical(), scratch.foothold(task, size) as foothold:
        foothold.lay_way_home(tracee)
        try:
            foothold.start(tracee, who, program, ptrace.SYSCALL)
            return _between(task, foothold, program)
        finally:
            tracee.store()


def _between(task: DumpTask, foothold: Foothold, program: Program) -> int:
    tracee = task.leader.tracee
    tracee.expect_syscall_stop()
    tracee.resume(ptrace.SYSCALL)
    tracee.expect_syscall_stop()
    result = int(ptrace.get_registers(tracee.tid).rax)
    fd = pidfd_getfd(task.pidfd, result) if result < 1 << 31 else -1
    tracee.resume()
    try:
        foothold.finish(tracee, program)
    except ProgramError:
        if fd >= 0:
            os.close(fd)
        raise
    return fd


def goes_on(options: Options) -> bool:
    """Whether writes are to be tracked after this dump."""
    return options.track_mem and (options.leave_running or options.leave_stopped)


def begin(context: DumpContext) -> Tracking:
    """The tracking of this dump, looked up before anything is frozen."""
    return context.once("tracking", partial(Tracking, context))
