"""What the restore gives to a resource: the puppets, the files made so far, the images."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from cr.contract.mounts import open_in_mount, placed
from cr.contract.resource import fd_resource
from cr.kernel.files import open_in_root
from cr.kernel.namespaces import inside
from cr.model import TASK_DEAD, TASK_STOPPED, BadImages, RestoreReport
from cr.options import Options
from cr.remote.foothold import Foothold, Identity
from cr.remote.janitor import Undo
from cr.remote.program import Program
from cr.remote.tracee import Tracee
from cr.values import cached_property, dataclass, field
from images.directory import ImageDirectory

if TYPE_CHECKING:
    from images import messages as m

T = TypeVar("T")
_NOTIFY = (signal.SIGURG, signal.SIGWINCH, *range(64, 31, -1), *range(1, 9), *range(10, 18))


@dataclass
class RestoreThread:
    """A thread to be: its image, and once it is born, the puppet that becomes it."""

    vtid: int
    core: m.core_entry
    task: RestoreTask
    tracee: Tracee | None = None
    inner: tuple[int, ...] = ()
    """its tids in pid namespaces below the root task's, the innermost last"""

    @property
    def pids(self) -> tuple[int, ...]:
        """Its tids from the root task's pid namespace down to its own."""
        return self.vtid, *self.inner

    @property
    def is_leader(self) -> bool:
        return self.vtid == self.task.vpid

    @property
    def identity(self) -> Identity:
        return Identity(self.task.leader.pids[-1], self.pids[-1], self._notify)

    @cached_property
    def _notify(self) -> int:
        """A signal that is not going to be pending: what waits in a queue must not be taken for ours."""
        queues = (self.core.thread_core.signals_p.signals, self.task.core.tc.signals_s.signals)
        taken = {int.from_bytes(item.siginfo[:4], "little") for queue in queues for item in queue}
        return int(next(signo for signo in _NOTIFY if signo not in taken))

    @property
    def puppet(self) -> Tracee:
        if self.tracee is None:
            raise RuntimeError(f"thread {self.vtid} is not born yet")
        return self.tracee


@dataclass
class RestoreTask:
    """A process to be."""

    entry: m.pstree_entry
    parent: RestoreTask | None
    threads: list[RestoreThread]
    ids: m.task_kobj_ids_entry | None
    children: list[RestoreTask] = field(default_factory=list)
    mm: m.mm_entry | None = None
    fds: list[m.fdinfo_entry] = field(default_factory=list)
    space: Any = None
    """its address space (cr.restore.memory), once that is built"""
    born_with: Any = None
    """the address space that its puppet was a copy of at birth, None where that was an empty puppet's"""
    heritages: dict[int, Any] = field(default_factory=dict)
    """what it could keep of the memory of another task (cr.restore.inheritance), by the vpid of that"""

    @property
    def vpid(self) -> int:
        return self.entry.pid

    @property
    def leader(self) -> RestoreThread:
        return self.threads[0]

    @property
    def core(self) -> m.core_entry:
        return self.leader.core

    @property
    def puppet(self) -> Tracee:
        return self.leader.puppet

    @property
    def is_zombie(self) -> bool:
        return bool(self.core.tc.task_state == TASK_DEAD)

    @property
    def stop_signal(self) -> int:
        """The signal that had stopped the task (SIGSTOP where the images do not say), 0 where it ran."""
        if self.core.tc.task_state != TASK_STOPPED:
            return 0
        return int(self.core.tc.stop_signo or signal.SIGSTOP)

    def __str__(self) -> str:
        return f"task {self.vpid} {self.core.tc.comm}"


def _nobody(program: Program, descriptors: list[int]) -> list[int]:
    raise RuntimeError("no channel to the puppets yet")


@dataclass
class RestoreContext:
    """The restore under way."""

    options: Options
    images: ImageDirectory
    report: RestoreReport
    tasks: list[RestoreTask] = field(default_factory=list)
    file_entries: dict[int, m.file_entry] = field(default_factory=dict)
    inventory: m.inventory_entry | None = None
    foothold: Foothold = field(default_factory=lambda: Foothold(0, 0))
    control: int = -1
    """our end of the socket over which descriptors go to the puppets"""
    puppet_control: int = -1
    """the puppets' end, the same number in all of them"""
    shared: dict[object, Any] = field(default_factory=dict)
    undo: Undo = field(default_factory=Undo)
    """what takes back things outside of the tree that were made for it, last first"""
    when_grown: list[Callable[[], None]] = field(default_factory=list)
    """what is to be done when every process is in its group, and none has a descriptor yet"""
    at_end: list[Callable[[], None]] = field(default_factory=list)
    """what remains to be done when every task is complete, just before they run"""
    last: list[Callable[[], None]] = field(default_factory=list)
    """what comes behind all of `at_end`: filters that would drop what is sent in it"""
    released: list[Callable[[], None]] = field(default_factory=list)
    spoken: list[Callable[[], None]] = field(default_factory=list)
    """what must wait until the network is no longer locked, and what comes behind all of that; the tasks stand
    still.  An OSError is told, and changes nothing."""
    before_release: list[Callable[[], None]] = field(default_factory=list)
    """what must wait until no task runs anything of ours any more: a freezer that stops them for good"""
    give: Callable[[Program, list[int]], list[int]] = _nobody
    """(program, descriptors of ours): sends them to a puppet that has none yet but its control socket and adds
    the call that takes them to its program; their numbers there"""

    process_once_more: Callable[[int], AbstractContextManager[tuple[Tracee, Identity] | None]] = lambda _: nullcontext()
    """a process with the pid of one that is gone, for the length of a block; None where that pid is taken"""

    passing_child: Callable[[], AbstractContextManager[tuple[Tracee, Identity]]] = nullcontext  # type: ignore[assignment]
    """a copy of the root puppet as it is now, for the length of a block"""

    when_done: list[Callable[[], None]] = field(default_factory=list)
    """what may only be done once nothing can fail any more: the removal of what the images refer to"""
    helpers: list[int] = field(default_factory=list)
    """our pids of puppets that are no tasks; a restore that fails ends them too"""
    root_fd: int = -1
    """root directory under which the paths of the images are opened"""
    network_fd: int = -1
    """the tasks' network namespace, -1 where it is our own"""
    _files: dict[int, int] = field(default_factory=dict)
    _kept: list[int] = field(default_factory=list)

    @property
    def root(self) -> RestoreTask:
        return self.tasks[0]

    def first_in(self, ids_field: str, ns_id: int) -> RestoreTask:
        """The first task of the tree that is in this namespace; the root for an id of nobody."""
        if (maker := self.shared.get(("maker", ids_field, ns_id))) is not None:
            return maker  # type: ignore[no-any-return]
        return next((t for t in self.tasks if t.ids is not None and getattr(t.ids, ids_field) == ns_id), self.root)

    def is_made(self, ids_field: str, ns_id: int) -> bool:
        """Whether somebody is in that namespace by now."""
        return ("maker", ids_field, ns_id) in self.shared

    def has_made(self, task: RestoreTask, ids_field: str, ns_id: int) -> None:
        """Note who was the first in a namespace: others that are in it may come before it in the images."""
        self.shared["maker", ids_field, ns_id] = task

    @property
    def live_tasks(self) -> list[RestoreTask]:
        """The tasks that are no zombies."""
        return [task for task in self.tasks if not task.is_zombie]

    def once(self, key: object, make: Callable[[], T]) -> T:
        """The value under `key`, made at its first use: what several files or tasks share."""
        if key not in self.shared:
            self.shared[key] = make()
        result: T = self.shared[key]
        return result

    def file(self, file_id: int) -> int:
        """Our descriptor of the open file with this id, made now unless it exists."""
        if file_id not in self._files:
            entry = self.file_entries.get(file_id)
            if entry is None:
                raise BadImages(f"files.img has no file {file_id:#x}, which a task refers to")
            resource = fd_resource(entry, self)
            try:
                self._files[file_id] = resource.make(getattr(entry, resource.field), self)
            except Exception as error:
                error.add_note(f"while making {resource.describe(getattr(entry, resource.field))}")
                raise
        return self._files[file_id]

    def passed(self, file_id: int) -> int:
        """Our descriptor that goes to the tasks for a file: the file's own, or what they get the file by."""
        made, entry = self.file(file_id), self.file_entries[file_id]
        resource = fd_resource(entry, self)
        return resource.passed(getattr(entry, resource.field), made, self)

    def extra(self, file_id: int) -> m.woodfrog_file_entry | None:
        """What our own dumps say about a file beyond the format."""
        return self.once("woodfrog-files", self._read_extras).get(file_id)

    def _read_extras(self) -> dict[int, m.woodfrog_file_entry]:
        found = self.images.read("woodfrog-files") if self.images.exists("woodfrog-files") else []
        return {entry.id: entry for entry in found}

    def open(self, path: str | bytes, flags: int, mode: int = 0, *, mnt_id: int = -1) -> int:
        """Open a path of the images as a task in the container would; through its mount, where that is known."""
        mount = placed(self).get(mnt_id)
        if mount is not None:
            return open_in_mount(mount, os.fsdecode(path), flags, mode)
        relative = os.fsencode(path).lstrip(b"/") or b"."
        return open_in_root(self.root_fd, relative, flags, mode)

    @contextmanager
    def network(self, ns_id: int = 0) -> Iterator[None]:
        """Inside the block this process is in a network namespace of the tasks: sockets are made there.

        `ns_id` is its number in the images; the root task's where that is not known.
        """
        fd = self.network_of(ns_id)
        if fd < 0:
            yield
            return
        with inside(fd, "net"):
            yield

    def network_of(self, ns_id: int) -> int:
        """Our descriptor of a network namespace; -1 where it is our own."""
        if self.root.ids is None or not ns_id or ns_id == self.root.ids.net_ns_id:
            return self.network_fd
        task = self.first_in("net_ns_id", ns_id)
        if task is self.root:
            return self.network_fd
        path = f"/proc/{task.puppet.tid}/ns/net"
        return self.once(("network", ns_id), lambda: self.keep(os.open(path, os.O_RDONLY | os.O_CLOEXEC)))

    def run(self, thread: RestoreThread, program: Program) -> None:
        """Run a program in a puppet; ProgramError where a call of it fails."""
        if program.calls:
            self.foothold.run(thread.puppet, thread.identity, program)

    def make_room(self, thread: RestoreThread, program: Program) -> None:
        """Where little room is left in a program, run what it holds, and empty it; what its calls gave is forgotten."""
        if program.size > self.foothold.size // 2:
            self.run(thread, program)
            program.clear()

    def add_joins(self, program: Program, namespaces: list[tuple[int, int]]) -> None:
        """Calls that move a puppet into namespaces: (our descriptor of it, its CLONE_NEW* flag) each."""
        slots = self.give(program, [fd for fd, _ in namespaces])
        for slot, (_, flag) in zip(slots, namespaces, strict=True):
            program.call("setns", slot, flag)
        for slot in slots:
            program.call("close", slot)

    def keep(self, fd: int) -> int:
        """Hold a descriptor until the restore is over."""
        self._kept.append(fd)
        return fd

    def drop(self, fd: int) -> None:
        """Close a descriptor that was kept."""
        self._kept.remove(fd)
        os.close(fd)

    def close(self) -> None:
        """Close every descriptor that was made for the tasks; they have their own by now."""
        for fd in {*self._files.values(), *self._kept}:
            os.close(fd)
        self._files.clear()
        self._kept.clear()
