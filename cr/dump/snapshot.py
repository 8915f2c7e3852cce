"""A dump that leaves the tasks running writes large memory from copies (fork(2)), while the tasks run on.

Each address space that is large is copied by one clone(2) in its frozen task.  The copy is traced, never runs, and is
killed with us; it has no descriptors, no child's signal and a session of its own.  Its parent, the task, takes the
zombie when all is written (cr.dump.reaper); if we are killed, a janitor sees to that.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cr import log
from cr.contract import plugins
from cr.contract.dumping import DumpContext, DumpTask
from cr.dump import reaper, user_faults
from cr.kernel import mman, proc, ptrace
from cr.kernel.clone import CLONE_FILES
from cr.kernel.numbers import NUMBERS
from cr.model import CheckpointError
from cr.options import Options
from cr.remote.foothold import PROGRAM_OFFSET, Foothold
from cr.remote.janitor import Undo
from cr.remote.puppet import adopt
from cr.remote.tracee import WALL, TaskGone, Tracee
from cr.resources.namespaces.pid_namespace import for_children
from cr.values import dataclass, field

if TYPE_CHECKING:
    from cr.dump.pages import Span

WORTHWHILE = 16 << 20  # bytes of anonymous memory: less is copied faster than it is forked and reaped
HELD_AT_MOST = 64 << 20  # bytes that no fork copies, kept in our memory
NOT_COPIED = frozenset({"dc", "wf"})
"""VmFlags of mappings that fork(2) leaves out (MADV_DONTFORK) or gives empty (MADV_WIPEONFORK)"""
_NOT_KEPT = frozenset({"lo", "lf", "um", "uw", "ui", "sd"})
"""VmFlags that a copy has not got from its original"""
_CLOSE_RANGE_UNSHARE = 2


class SnapshotLost(CheckpointError):
    """A copy is of no use: what was to be written from it is to be written with the tasks standing still."""


@dataclass
class Copy:
    """The copy of one task's memory.  `held` is what the fork did not copy: (start, bytes)."""

    task: DumpTask
    tracee: Tracee
    number: int
    """its pid as the task knows it"""
    foothold: Foothold
    held: list[tuple[int, bytes]] = field(default_factory=list)
    missing: list[Span] = field(default_factory=list)
    """mappings that it has not"""

    @property
    def pid(self) -> int:
        return self.tracee.tid

    def settle(self) -> None:
        """While the task runs: let go of all that the copy shares with it but for memory, and complete that."""
        self._call("close_range", 0, 0xFFFFFFFF, _CLOSE_RANGE_UNSHARE)
        self._call("setsid")
        for start, end in self.missing:
            flags = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS | mman.MAP_FIXED
            self._call("mmap", start, end - start, mman.PROT_READ | mman.PROT_WRITE, flags, -1, 0)
        with open(f"/proc/{self.pid}/oom_score_adj", "w") as file:
            file.write("1000")
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            for start, content in self.held:
                memory.seek(start)
                memory.write(content)
        self.held.clear()

    def _call(self, name: str, *arguments: int) -> None:
        result = self.tracee.system_call(self.foothold.address + PROGRAM_OFFSET, NUMBERS[name], *arguments)
        if result < 0 and name != "setsid":
            raise SnapshotLost(f"{name} in the copy of {self.task} failed: {os.strerror(-result)}")

    def end(self) -> None:
        """Kill it, and see it dead; its parent has it as a zombie afterwards."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            while os.WIFSTOPPED(os.waitpid(self.pid, WALL)[1]):
                continue
        except (ProcessLookupError, ChildProcessError):
            return


class Copies:
    """All copies of a dump."""

    def __init__(self, context: DumpContext) -> None:
        self.context = context
        self._large: set[int] = set()
        self._copies: dict[int, Copy] = {}
        self._later: list[Callable[[], None]] = []
        self._safety = Undo()
        self._wanted = _is_wanted(context.options)

    def prepare(self, tasks: list[DumpTask]) -> None:
        """Right before the freeze: what will be copied, and is there room for it?"""
        sizes = {task.pid: _anonymous(task.pid) for task in tasks} if self._wanted else {}
        large = [pid for pid, size in sizes.items() if self._is_large(size)]
        if not large or not _has_room(large, sum(sizes[pid] for pid in large)):
            self._wanted = False
            return
        self._safety.append(int)  # there is a janitor from here on, even before there is a copy
        self._large = set(large)
        self.context.at_end.append(self.end)

    def _is_large(self, size: int) -> bool:
        return size >= WORTHWHILE or self.context.options.snapshot == "always"

    def will_tell(self, task: DumpTask) -> bool:
        """Whether a copy will show if the task's mappings are what they are taken for: of locked memory it does not."""
        return self.of(task) is not None and task.leader.status["VmLck"] == "0 kB"

    def of(self, task: DumpTask) -> Copy | None:
        return self._copies.get(task.ids["vm_id"])

    def take(self, task: DumpTask, foothold: Foothold) -> None:
        """Copy the memory of a frozen task that is worth it; where the kernel refuses, it is written now."""
        if not self._wanted or task.pid not in self._large or task.ids["vm_id"] in self._copies:
            return
        if for_children(task.pid) != proc.namespace_inode(task.pid, "pid"):
            return  # the copy would be born in that pid namespace
        if user_faults.report_forks(task, self.context):
            return
        apart = [mapping for mapping in task.mappings if NOT_COPIED & mapping.flags and not mapping.shared]
        held = _hold(task, apart)
        if held is None:
            return
        try:
            copy = self._fork(task, foothold)
        except OSError as error:
            log.info(f"{error}: its memory is written while it stands still")
            return
        copy.held, copy.missing = held, [(each.start, each.end) for each in apart if "dc" in each.flags]
        self._copies[task.ids["vm_id"]] = copy

    def _fork(self, task: DumpTask, foothold: Foothold) -> Copy:
        tracee = task.leader.tracee
        options = ptrace.O_TRACESYSGOOD
        if task.leader.status["Seccomp"] != "0":
            options |= ptrace.O_SUSPEND_SECCOMP
        self._safety.append(partial(reaper.reap_left, task.pid, task.stat.start_time, reaper.now()))
        foothold.lay_way_home(tracee)
        try:
            born = foothold.fork(tracee, CLONE_FILES, options)
        finally:
            tracee.store()
        copy = adopt(born)
        copy.options(options | ptrace.O_EXITKILL)
        return Copy(task, copy, proc.ns_ids(proc.status(born), "NSpid")[-1], foothold)

    def later(self, action: Callable[[], None]) -> None:
        """Do this when the tasks run again."""
        self._later.append(action)

    def __bool__(self) -> bool:
        return bool(self._copies)

    def write(self) -> None:
        """The tasks run: write what was put off; SnapshotLost where a copy is gone, or not what it should be."""
        try:
            for copy in self._copies.values():
                copy.settle()
                self._verify(copy)
            for action in self._later:
                action()
        except (TaskGone, ProcessLookupError, FileNotFoundError) as error:
            raise SnapshotLost(f"a copy of the tasks' memory has gone ({error})") from error

    def _verify(self, copy: Copy) -> None:
        """That the mappings have the flags that were taken for granted (cr.dump.foresight)."""
        now = {(each.start, each.end): each.flags for each in proc.mappings(copy.pid)}
        for mapping in copy.task.mappings:
            flags = now.get((mapping.start, mapping.end))
            if flags is not None and (flags ^ mapping.flags) - _NOT_KEPT and "dc" not in mapping.flags:
                raise SnapshotLost(f"{mapping} of {copy.task} changed right before the freeze")

    def end(self) -> None:
        """Nothing is left of the copies."""
        for copy in self._copies.values():
            copy.end()
        for copy in self._copies.values():
            try:
                reaper.reap(copy.task.pid, copy.task.stat.start_time, [copy.number])
            except (CheckpointError, OSError) as error:
                log.warning(f"{error}")  # the images are complete, and the task runs
        self._copies.clear()
        self._safety.forget()


def _is_wanted(options: Options) -> bool:
    if not options.leave_running or options.snapshot == "never":
        return False
    if options.action_script or plugins.active() or options.lazy_pages:
        return (
            False  # scripts and plug-ins may rely on the tasks' standing still; pages that are lent stay where they are
        )
    if not options.freeze_cgroup:
        return True
    from cgroups import freezer

    return not freezer.wanted_frozen(options.freeze_cgroup)


def _anonymous(pid: int) -> int:
    """Bytes of anonymous memory, swapped or not."""
    try:
        fields = proc.status(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(fields.get(name, "0 kB").split()[0]) << 10 for name in ("RssAnon", "VmSwap"))


def _has_room(pids: list[int], size: int) -> bool:
    """Whether everything may be written to, and so doubled, before we are done."""
    from cgroups.headroom import headroom

    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    rooms = [available, *(room for pid in pids if (room := headroom(pid)) is not None)]
    if size > min(rooms):
        log.info(f"there is no room for a copy of {size} bytes of memory: it is written while the tasks stand still")
    return size <= min(rooms)


def _hold(task: DumpTask, mappings: list[proc.Mapping]) -> list[tuple[int, bytes]] | None:
    """What mappings contain that a fork has not; None where that is too much."""
    from cr.dump.pages import find

    spans = [(mapping.start, mapping.end) for mapping in mappings]
    runs = find(task.pid, [], spans).runs if spans else []
    if sum(end - start for start, end in runs) > HELD_AT_MOST:
        log.info(f"{task} has too much memory that is not copied by fork (MADV_DONTFORK): it is written now")
        return None
    fd = os.open(f"/proc/{task.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return [(start, os.pread(fd, end - start, start)) for start, end in runs]
    finally:
        os.close(fd)


def begin(context: DumpContext) -> Copies:
    """The copies of this dump."""
    return context.once("copies", partial(Copies, context))
