"""The one door from the container runtime to the checkpoint/restore engine.

A request is plain: options by the engine's long names with underscores (cr.options).  `runtime.frozen` composes
requests, `InProcess` hands them to the engine in this process; a test hands them to a recording fake.
"""

from __future__ import annotations

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

        check_supported(request.options)
        with _engine_errors("checkpoint"):
            return cr.dump(request.pid, request.directory, notify=notify, **request.options)

    def restore(self, request: RestoreRequest, notify: Notify) -> int:
        """See `Engine`."""
        import cr

        check_supported(request.options)
        with _engine_errors("restore"):
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
    """Errors of the engine become errors of the container, with the verb that they ended."""

    def __init__(self, verb: str) -> None:
        self.verb = verb

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from cr.model import CheckpointError
        from images.errors import ImageError

        if isinstance(error, (CheckpointError, ImageError)):
            raise ContainerError(f"{self.verb} failed: {error}") from error
