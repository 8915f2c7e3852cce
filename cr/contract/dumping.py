"""What the dump gives to a resource: the frozen tasks, their open files, the image directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cr.kernel import pidfd, proc
from cr.model import DumpReport
from cr.options import Options
from cr.remote.foothold import Identity
from cr.remote.janitor import Undo
from cr.remote.tracee import Tracee
from cr.values import cached_property, dataclass, field
from images.directory import ImageDirectory

if TYPE_CHECKING:
    from cr.contract.page_store import PageStore
    from cr.contract.resource import FdResource
    from images import messages as m

T = TypeVar("T")


@dataclass
class DumpThread:
    """A frozen thread and our hold on it.

    `tid` is ours, `vtid` as the root task's pid namespace sees it, `ns_tid` as the thread itself does.
    """

    tid: int
    vtid: int
    ns_tid: int
    tracee: Tracee
    task: DumpTask
    status: dict[str, str]

    @property
    def is_leader(self) -> bool:
        return self.tid == self.task.pid


@dataclass
class DumpTask:
    """A frozen process.  `vpid`, `vppid`, `vpgid`, `vsid` are ids as the root task's pid namespace sees them.

    `pid` is where /proc tells of it: its host pid, or the tid of another thread where the main one has exited.
    """

    pid: int
    vpid: int
    vppid: int
    vpgid: int
    vsid: int
    stat: proc.Stat
    parent: DumpTask | None
    threads: list[DumpThread] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    """kernel object ids: vm, files, fs, sighand and namespaces, equal where shared"""
    exited_main: int = 0
    """host pid of a main thread that has exited while others live on, else 0"""
    main_status: int = 0
    """what it exited with, as wait(2) tells it"""

    @property
    def is_zombie(self) -> bool:
        return self.stat.state == "Z"

    @property
    def tgid(self) -> int:
        """The host pid, whatever threads live."""
        return self.exited_main or self.pid

    @property
    def leader(self) -> DumpThread:
        """The main thread, or the one that answers for the process in its place."""
        return self.threads[0]

    @cached_property
    def pidfd(self) -> int:
        return pidfd.pidfd_of_thread(self.pid)

    @cached_property
    def mappings(self) -> list[proc.Mapping]:
        return proc.mappings(self.pid)

    @property
    def shares_pages(self) -> bool:
        """Whether some of its private pages are still those of a relative (copy on write)."""
        return any(mapping.copied_on_write for mapping in self.mappings)

    def __str__(self) -> str:
        inside = f" ({self.vpid} inside)" if self.vpid != self.pid else ""
        return f"task {self.pid}{inside} {self.stat.comm}"


@dataclass
class OpenFile:
    """An open file description as one task's descriptor shows it; `id` numbers the description in the images."""

    task: DumpTask
    fd: int
    link: str
    stat: os.stat_result
    info: dict[str, str]
    info_text: str
    id: int = 0
    _local: int = -1
    family: int | None = None
    """AF_* of a socket, once somebody asked"""

    @cached_property
    def pos(self) -> int:
        return int(self.info["pos"])

    @cached_property
    def flags(self) -> int:
        """open(2) flags, with O_CLOEXEC where this descriptor has it."""
        return int(self.info["flags"], 8)

    @cached_property
    def mnt_id(self) -> int:
        return int(self.info["mnt_id"])

    @property
    def local(self) -> int:
        """Our own descriptor of the same open file description (pidfd_getfd)."""
        if self._local < 0:
            self._local = pidfd.pidfd_getfd(self.task.pidfd, self.fd)
        return self._local

    def close(self) -> None:
        if self._local >= 0:
            os.close(self._local)
            self._local = -1

    def __str__(self) -> str:
        """A mapping's file, or a directory that the task is in, has no descriptor."""
        return f"fd {self.fd} ({self.link}) of {self.task}" if self.fd >= 0 else f"{self.link}, in use by {self.task},"


class FileRegistry(Protocol):
    """The open files met so far; see cr.dump.files."""

    def add(self, file: OpenFile) -> int:
        """Id of the open file description behind a descriptor; 0 where it cannot be dumped."""

    def add_path(self, task: DumpTask, name: str, flags: int) -> int:
        """Id of the file that /proc/PID/NAME is a link to (exe, cwd, map_files/...), as if opened with `flags`."""

    def add_held(self, fd: int) -> int:
        """Id of an open file that only we hold (it was on its way between tasks); keep `fd` open until the end."""

    def add_record(self, resource: type[FdResource], record: Any) -> None:
        """Add a file that no task holds."""

    def beneath(self, file_id: int, resource: type[FdResource], record: Any) -> None:
        """Add a record that another file's rests on: it has the same id, and comes before it."""

    def move_to_end(self, file_id: int) -> None:
        """Let the record of a file come last in files.img."""

    def later(self, action: Callable[[], None]) -> None:
        """Run `action` once all descriptor tables are known; it may add files."""

    def new_id(self) -> int:
        """An id for a file that no descriptor refers to."""

    def find(self, task: DumpTask, fd: int) -> int:
        """Id of what `fd` of `task` refers to; 0 where that is not (or not yet) known."""

    def extra(self, file_id: int) -> m.woodfrog_file_entry:
        """What the format has no field for about a file; to be filled in."""

    def doubtful(self, task: DumpTask) -> list[m.fdinfo_entry]:
        """Descriptors of which only the task itself knows whether they are closed by execve; each is told once."""

    def holders(self, dev: int, ino: int) -> list[tuple[DumpTask, int, int]]:
        """(task, fd, id) of every descriptor of a file with this st_dev and st_ino."""


@dataclass
class DumpContext:
    """The dump under way."""

    options: Options
    images: ImageDirectory
    report: DumpReport
    tasks: list[DumpTask] = field(default_factory=list)
    scouted: list[DumpTask] = field(default_factory=list)
    """the tasks as they were seen before the freeze"""
    frozen_since: int = 0
    """nanoseconds of time.monotonic_ns()"""
    obstacles: list[str] = field(default_factory=list)
    shared: dict[object, object] = field(default_factory=dict)
    undo: Undo = field(default_factory=Undo)
    """what takes back things that the dump changed outside of the tasks, if it fails"""
    at_release: list[Callable[[], None]] = field(default_factory=list)
    """what is to be done just before the tasks run again, or when they are gone"""
    at_end: list[Callable[[], None]] = field(default_factory=list)
    """what is to be closed when the dump is over, whether it failed or not"""
    succeeded: bool = False
    """whether the images are complete; known when `at_end` runs"""
    registry: FileRegistry | None = None
    at_kill: list[Callable[[], None]] = field(default_factory=list)
    """what is to be done just before the tasks are killed"""

    @cached_property
    def run_id(self) -> str:
        """A random UUID in its usual form, which names this dump; the module of that name costs 5 ms."""
        digits = os.urandom(16).hex()
        return "-".join((digits[:8], digits[8:12], "4" + digits[13:16], "8" + digits[17:20], digits[20:]))

    @cached_property
    def pages(self) -> PageStore:
        """Where pages go; what is set before the first use holds."""
        from cr.contract.page_store import LocalPages

        return LocalPages(self.images)

    @property
    def files(self) -> FileRegistry:
        if self.registry is None:
            raise RuntimeError("no file table yet")
        return self.registry

    @property
    def root(self) -> DumpTask:
        return self.tasks[0]

    @property
    def root_pid(self) -> int:
        """Where /proc tells of the root task, before it is frozen too."""
        return self.root.pid if self.tasks else proc.living_thread(self.options.tree)

    @property
    def live_tasks(self) -> list[DumpTask]:
        return [task for task in self.tasks if not task.is_zombie]

    def refuse(self, sentence: str) -> None:
        """Note a reason why this tree cannot be dumped; all are shown together."""
        if sentence not in self.obstacles:
            self.obstacles.append(sentence)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """The value under `key`, made at its first use."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]  # type: ignore[return-value]


@contextmanager
def note(text: str) -> Iterator[None]:
    """Errors that pass get a line saying where they came from."""
    try:
        yield
    except Exception as error:
        error.add_note(text)
        raise


def identity(thread: DumpThread) -> Identity:
    tgid = proc.ns_ids(thread.task.leader.status, "NStgid")[-1]
    return Identity(tgid, thread.ns_tid, notify_signal(thread.status))


def pid_seen_by(viewer: DumpThread, task: DumpTask) -> int:
    """The pid of a task as a thread of the same pid namespace, or of one further out, knows it."""
    depth = len(proc.ns_ids(viewer.status, "NSpid")) - 1
    return proc.ns_ids(task.leader.status, "NStgid")[depth]


def pid_in_root(pid: int, viewer: DumpThread, context: DumpContext) -> int:
    """A process that a thread knows as `pid`, as the root task's pid namespace counts; 0 where it is not known now."""
    depth, level = (len(proc.ns_ids(thread.status, "NSpid")) - 1 for thread in (viewer, context.root.leader))
    if depth == level:
        return pid
    space = viewer.task.ids["pid_ns_id"]
    inside = [task for task in context.live_tasks if task.ids["pid_ns_id"] == space]
    return next((task.vpid for task in inside if pid_seen_by(viewer, task) == pid), 0)


def notify_signal(status: dict[str, str]) -> int:
    """A signal that is not pending; if possible one that does nothing by default and has no handler."""
    from cr.remote.foothold import DEFAULT_IGNORED

    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    caught = int(status["SigCgt"], 16)
    candidates = [int(signo) for signo in (*DEFAULT_IGNORED, *range(64, 31, -1)) if not pending >> (signo - 1) & 1]
    quiet = [signo for signo in candidates if signo in DEFAULT_IGNORED and not caught >> (signo - 1) & 1]
    return (quiet or candidates)[0]
