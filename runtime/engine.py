"""The one door from the container runtime to the checkpoint/restore engine.

A request is plain: options by the engine's long names with underscores (cr.options).  `runtime.frozen` composes
requests, `InProcess` hands them to the engine in this process; a test hands them to a recording fake.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.errors import ContainerError

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
