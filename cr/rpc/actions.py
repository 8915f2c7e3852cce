"""What each type of request does."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from cr import stdio
from cr.model import CheckpointError
from cr.options import Notify, Options
from cr.reporting import open_log
from cr.rpc import greeting
from cr.rpc.requests import copy_of, merge, warn_of_unknown
from cr.rpc.transport import Client
from cr.values import dataclass, replace

if TYPE_CHECKING:
    from images import messages as m


@dataclass(frozen=True)
class Work:
    """A request and what belongs to it."""

    request: m.criu_req
    client: Client
    base: Options
    notify: Notify | None

    def options(self) -> Options:
        """The options of the request; the log is open from now on."""
        options = replace(copy_of(self.base), images_dir="", notify=self.notify)
        try:
            merge(self.request.opts, self.client, options)
        except CheckpointError:
            with suppress(CheckpointError):
                open_log(options)
            raise
        open_log(options)
        warn_of_unknown(self.request.opts)
        return options


@dataclass(frozen=True)
class Action:
    """`function` fills the answer or raises; `goes_on`: another request follows even without keep_open."""

    function: Callable[[Work, m.criu_resp], None]
    doing: str
    goes_on: bool = False


def _dump(work: Work, answer: m.criu_resp) -> None:
    from cr.api import dump_tree

    options = work.options()
    options.tree = options.tree or work.client.pid
    answer.dump.restored = False
    options.external += stdio.write(options.images_dir, _host_files(options))
    dump_tree(options)


def _host_files(options: Options) -> list[str]:
    """What a runtime has left to its container; see cr.stdio.  Nothing where the dump itself will say what is wrong."""
    try:
        return stdio.host_files(options.tree)
    except OSError:
        return []


def _restore(work: Work, answer: m.criu_resp) -> None:
    from cr.api import restore_tree
    from cr.guard import interruptible

    options = work.options()
    options.restore_detached = True
    known = {entry.partition(":")[2] for entry in options.inherit_fd}
    options.inherit_fd += stdio.inherit("" if name in known else name for name in stdio.read(options.images_dir))
    with interruptible():
        answer.restore.pid = restore_tree(options).pid


def _check(work: Work, _: m.criu_resp) -> None:
    from cr.check import run as check

    if check(work.options()):
        raise CheckpointError("this kernel lacks what is needed: `woodfrog-criu check` says what")


def _features(work: Work, answer: m.criu_resp) -> None:
    """What was asked about, each tried; what was not asked about is false."""
    from cr.check import lacks

    asked = work.request.features
    answer.features.mem_track = asked.mem_track and not lacks("mem_dirty_track")
    answer.features.lazy_pages = asked.lazy_pages and not lacks("uffd-noncoop")
    answer.features.pidfd_store = asked.pidfd_store and not lacks("pidfd_store")


def _version(_: Work, answer: m.criu_resp) -> None:
    version = answer.version
    version.major_number, version.minor_number, version.name = greeting.MAJOR, greeting.MINOR, greeting.NAME


def _wait(work: Work, answer: m.criu_resp) -> None:
    """The wait status of a process that an earlier request on this socket has started."""
    try:
        _, answer.status = os.waitpid(work.request.pid, 0)
    except ChildProcessError as error:
        raise CheckpointError(
            f"process {work.request.pid} was not started on this socket: ask WAIT_PID there"
        ) from error


ACTIONS = {
    1: Action(_dump, "Dumping"),
    2: Action(_restore, "Restoring"),
    3: Action(_check, "Checking"),
    9: Action(_features, "Checking"),
    10: Action(_version, "Saying the version"),
    11: Action(_wait, "Waiting"),
}
"""By criu_req_type."""
