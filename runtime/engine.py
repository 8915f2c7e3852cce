"""The one door from the container runtime to the checkpoint/restore engine.

A request is plain: options by the engine's long names with underscores (cr.options).  `runtime.frozen` composes
requests, `InProcess` hands them to the engine in this process; a test hands them to a recording fake.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from runtime.errors import ContainerError

if TYPE_CHECKING:
    from cr.rpc.client import Remote

Notify = Callable[[str, int, int | None], None]
"""(event, pid or 0, descriptor or None), at each notification point; raises to abort."""


@dataclass(frozen=True)
class DumpRequest:
    """Freeze the tree of `pid` into `directory`."""

    pid: int
    directory: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RestoreRequest:
    """Thaw what is in `directory`."""

    directory: str
    options: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """What the runtime needs of an engine.  Both raise ContainerError with the engine's words."""

    def dump(self, request: DumpRequest, notify: Notify) -> object:
        """Dump; the engine's report."""

    def restore(self, request: RestoreRequest, notify: Notify) -> int:
        """Restore; the host pid of the tree's root, which is our child."""


class InProcess:
    """The engine of this project, called in this process."""

    def dump(self, request: DumpRequest, notify: Notify) -> object:
        """See `Engine`."""
        import cr

        options = dict(request.options)
        verb = cr.pre_dump if options.pop("pre_dump", False) else cr.dump
        check_supported(options)
        with _engine_errors("checkpoint", request):
            return verb(request.pid, request.directory, notify=notify, **options)

    def restore(self, request: RestoreRequest, notify: Notify) -> int:
        """See `Engine`."""
        import cr

        check_supported(request.options)
        with _engine_errors("restore", request):
            return cr.restore(request.directory, notify=notify, **request.options).pid


class OverRpc:
    """Any program that speaks criu's RPC, started as `PROGRAM swrk FD`: `woodfrog --criu PROGRAM`."""

    def __init__(self, program: str) -> None:
        self.program = program

    def dump(self, request: DumpRequest, notify: Notify) -> object:
        """See `Engine`; there is no report."""
        with self._conversation("checkpoint", request) as engine:
            engine.dump(request.pid, request.directory, notify=notify, **request.options)
        return None

    def restore(self, request: RestoreRequest, notify: Notify) -> int:
        """See `Engine`."""
        with self._conversation("restore", request) as engine:
            return engine.restore(request.directory, notify=notify, restore_sibling=True, **request.options)

    @contextmanager
    def _conversation(self, verb: str, request: DumpRequest | RestoreRequest) -> Iterator[Remote]:
        from cr.model import CheckpointError
        from cr.rpc.client import Remote

        lent = [int(entry[3 : entry.index("]")]) for entry in request.options.get("inherit_fd", [])]
        try:
            with Remote.start(self.program, [fd for fd in lent if fd > 2]) as engine:
                yield engine
        except CheckpointError as error:
            log = os.path.join(request.options.get("work_dir") or request.directory, request.options["log_file"])
            raise ContainerError(f"{verb} failed: {self.program}: {error} ({log} may say more)") from error


def choose(program: str) -> Engine:
    """The engine of this project, or the program that the user names."""
    return OverRpc(program) if program else InProcess()


def check_supported(options: dict[str, Any]) -> None:
    """Raise ContainerError naming every option that the engine has no row for."""
    from cr.options import rows

    known = {row.name for row in rows()}
    missing = sorted(set(options) - known)
    if missing:
        flags = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise ContainerError(f"the engine does not support {flags}; leave the option out")


class _engine_errors:
    """The engine's log is open; its errors become errors of the container, with the verb that they ended."""

    def __init__(self, verb: str, request: DumpRequest | RestoreRequest) -> None:
        self.verb = verb
        self.request = request

    def __enter__(self) -> None:
        from cr import log

        options = self.request.options
        directory = os.open(options.get("work_dir") or self.request.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            log.open_log(options.get("log_file", ""), directory, options.get("verbosity", log.WARNING))
        finally:
            os.close(directory)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from cr import log

        if error is None:
            log.close_log()
            return
        sentence = _log_error(error)
        log.close_log()
        if sentence:
            raise ContainerError(f"{self.verb} failed: {sentence}") from error


def _log_error(error: BaseException) -> str:
    """Every reason goes into the log, with where it was found; the sentence for the user, if it is the engine's."""
    from cgroups import CgroupError
    from cr import log
    from cr.model import CheckpointError, Refused
    from images.errors import ImageError

    reasons = error.reasons if isinstance(error, Refused) else [str(error) or type(error).__name__]
    for text in [*reasons, *(f"  {note}" for note in getattr(error, "__notes__", []))]:
        log.error(text)
    if not isinstance(error, (CheckpointError, ImageError, CgroupError, OSError, ContainerError)):
        log.trace(error)
    return "; ".join(reasons) if isinstance(error, (CheckpointError, ImageError, CgroupError)) else ""
