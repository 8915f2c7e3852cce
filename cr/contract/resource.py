"""What a kernel resource is to the two flows, and how resources are found.

A resource is a class in a file of cr/resources/; it registers by existing.  Kinds of resource:

* `FdResource`: what a file descriptor can refer to (a pipe, a socket, ...).
* `ThreadResource` and `ProcessResource`: state of a thread, or of a whole process.
* `NamespaceResource`: one kind of namespace with its content.
"""

from __future__ import annotations

import enum
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from cr.contract.dumping import DumpContext, DumpTask, DumpThread, OpenFile
    from cr.contract.restoring import RestoreContext, RestoreTask, RestoreThread
    from cr.remote.program import Program
    from images import messages as m


class Stage(enum.IntEnum):
    """When a task's state is rebuilt.  All tasks finish a stage before any begins the next."""

    STATE = 1  # with full rights: address space and descriptors are there
    ARMED = 2  # everything exists; what ticks, or is queued, starts here
    IDENTITY = 3  # credentials; afterwards the task has only its own rights
    SEALED = 4  # no_new_privs and seccomp


class _TaskState(ABC):
    """State of a thread.  One object serves one thread during a dump: `ask` may keep what it asked for."""

    stage: ClassVar[Stage] = Stage.STATE
    order: ClassVar[int] = 0  # within the stage, small first

    def ask(self, program: Program, thread: DumpThread, context: DumpContext) -> None:  # noqa: B027
        """Add the system calls, run inside the frozen thread, that tell what cannot be seen from outside."""

    @abstractmethod
    def record(self, thread: DumpThread, core: Any, context: DumpContext) -> None:
        """Fill in the thread's core_entry (and images of its own); reasons against go to `context.refuse`."""

    @classmethod
    @abstractmethod
    def rebuild(cls, program: Program, thread: RestoreThread, context: RestoreContext) -> None:
        """Add the system calls, run inside the new thread, that bring the state back."""


class ThreadResource(_TaskState):
    """State that every thread has of its own."""


class ProcessResource(_TaskState):
    """State that the threads of a process share; handled by the leader."""


class FdResource(ABC):
    """What a file descriptor can refer to.  Exactly one resource recognises an open file."""

    type: ClassVar[int]  # fd_types number of the image format
    field: ClassVar[str]  # its field in file_entry

    @classmethod
    @abstractmethod
    def recognises(cls, file: OpenFile) -> bool:
        """Whether this open file is of this kind, from its link, its stat and its fdinfo."""

    @classmethod
    def obstacles(cls, file: OpenFile, context: DumpContext) -> Iterable[str]:
        """Reasons that stand against a dump and can be seen from outside, before anything is frozen."""
        return ()

    @classmethod
    @abstractmethod
    def dump(cls, file: OpenFile, context: DumpContext) -> Any:
        """The message that describes the open file; called once for each open file description."""

    @classmethod
    def finish_dump(cls, context: DumpContext) -> None:
        """Write images of its own (queued data, ...), once all files of all tasks are known."""

    @classmethod
    def has(cls, file_id: int, context: RestoreContext) -> bool:
        """Whether a file of the images is of this kind, where several kinds share a type."""
        return True

    @classmethod
    def describe(cls, entry: Any) -> str:
        """One line for the plan: what will be made."""
        return f"{cls.__name__} {entry.id}"

    @classmethod
    def foresee(cls, context: RestoreContext) -> None:  # noqa: B027
        """The root puppet stands there, with its namespaces and mounts, and no other: do what needs a pid of theirs."""

    @classmethod
    def prepare(cls, context: RestoreContext) -> None:  # noqa: B027
        """All processes stand there and have no descriptors yet: make what needs calls in some of them."""

    @classmethod
    @abstractmethod
    def make(cls, entry: Any, context: RestoreContext) -> int:
        """Make the open file; a descriptor of ours, which is handed to every task that had it.

        Other files it needs come from `context.file(id)`, what several share from `context.once`.
        """

    @classmethod
    def passed(cls, entry: Any, made: int, context: RestoreContext) -> int:
        """Our descriptor that is handed to the tasks: another than `made` where the kernel does not let that pass."""
        return made

    @classmethod
    def placed(cls, entry: Any, program: Program, fd: int, task: RestoreTask, context: RestoreContext) -> None:
        """Calls to run in one task that has it as `fd`, once all descriptors of all tasks are in place."""


class NamespaceResource(ABC):
    """One kind of namespace with what is in it."""

    name: ClassVar[str]  # in /proc/PID/ns
    clone_flag: ClassVar[int]
    ids_field: ClassVar[str]  # in task_kobj_ids_entry
    order: ClassVar[int] = 0
    at_birth: ClassVar[bool] = True
    """whether clone3(2) makes it together with the root task; otherwise `restore` makes it"""

    @classmethod
    def obstacles(cls, task: DumpTask, context: DumpContext) -> Iterable[str]:
        """Reasons against a dump of a namespace of this kind that `task` is in."""
        return ()

    @classmethod
    def dump_shared(cls, context: DumpContext) -> None:  # noqa: B027
        """The root task shares the host's namespace: write what is to be known of it all the same, as id 0."""

    @classmethod
    def shared_image(cls, context: RestoreContext) -> bool:
        """Whether `dump_shared` has left something that makes a namespace of the tree's own necessary."""
        return False

    @classmethod
    @abstractmethod
    def dump(cls, task: DumpTask, ns_id: int, context: DumpContext) -> None:
        """Write the images of the namespace that `task` is in."""

    @classmethod
    @abstractmethod
    def restore(cls, ns_id: int, context: RestoreContext) -> None:
        """Fill the new namespace of the root puppet, or of who is the first in it."""

    @classmethod
    def prepared(cls, ns_id: int, context: RestoreContext) -> int | None:
        """Our descriptor of a namespace that was made before any of its tasks is born."""
        return None


def subclasses(base: type[Any]) -> Iterable[type[Any]]:
    for cls in base.__subclasses__():
        if not getattr(cls, "__abstractmethods__", None):
            yield cls
        yield from subclasses(cls)


def _import_all(name: str, *, packages: bool) -> None:
    """Every module of a package, and of the packages right below it; what is deeper is theirs to import."""
    for module, is_package in _modules(importlib.import_module(name).__path__[0]):
        if not is_package:
            importlib.import_module(f"{name}.{module}")
        elif packages:
            _import_all(f"{name}.{module}", packages=False)


def _modules(place: str) -> list[tuple[str, bool]]:
    """(name, is a package) of what stands in a folder; in an archive pkgutil finds it, which costs 10 ms more."""
    if not os.path.isdir(place):
        import pkgutil

        return [(module.name, module.ispkg) for module in pkgutil.iter_modules([place])]
    with os.scandir(place) as entries:
        found = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("_")]
    return sorted((name.removesuffix(".py"), folder) for name, folder in found if folder or name.endswith(".py"))


@cache
def discover() -> None:
    _import_all("cr.resources", packages=True)


@cache
def fd_resources() -> tuple[type[FdResource], ...]:
    discover()
    return tuple(sorted(subclasses(FdResource), key=lambda cls: cls.__name__))


@cache
def _of_type(type: int) -> tuple[type[FdResource], ...]:
    return tuple(cls for cls in fd_resources() if cls.type == type)


def fd_resource(entry: m.file_entry, context: RestoreContext) -> type[FdResource]:
    """Who makes a file of the images: the only one of its type, or the one that has it in images of its own."""
    candidates = _of_type(entry.type)
    if len(candidates) == 1:
        return candidates[0]
    return next(cls for cls in candidates if cls.has(entry.id, context))


@cache
def task_resources(*, leader: bool) -> tuple[type[_TaskState], ...]:
    """Resources of a thread in the order of their rebuilding; those of the process for its leader only."""
    discover()
    found = [cls for cls in subclasses(_TaskState) if leader or not issubclass(cls, ProcessResource)]
    return tuple(sorted(found, key=lambda cls: (cls.stage, cls.order, cls.__name__)))


@cache
def namespace_resources() -> tuple[type[NamespaceResource], ...]:
    discover()
    return tuple(sorted(subclasses(NamespaceResource), key=lambda cls: (cls.order, cls.name)))
