"""What each type of request does."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from cr import log, stdio
from cr.contradictions import check
from cr.model import CheckpointError
from cr.options import Notify, Options
from cr.reporting import open_log
from cr.rpc import greeting
from cr.rpc.requests import copy_of, merge, warn_of_unknown
from cr.rpc.transport import Client
from cr.successor import Successor
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
        options.service_socket = os.fstat(self.client.sock.fileno()).st_ino
        options.unprivileged |= self.client.apart and self.client.uid != 0
        warn_of_unknown(self.request.opts)
        return options

    def look_over(self) -> None:
        """Options that matter no further: BadRequest where they could not be anything."""
        opts = type(self.request.opts)()
        opts.CopyFrom(self.request.opts)
        opts.images_dir_fd = -1  # there may be no directory at all
        opts.ClearField("work_dir_fd")
        merge(opts, self.client, copy_of(self.base))


@dataclass(frozen=True)
class Action:
    """`function` fills the answer or raises, and may name who takes our place once it is sent.

    `goes_on`: another request follows even without keep_open.
    """

    function: Callable[[Work, m.criu_resp], Successor | None]
    doing: str
    goes_on: bool = False


def _dump(work: Work, answer: m.criu_resp) -> None:
    from cr.api import dump_tree

    options = work.options()
    check("dump", _aimed(options, work.client))
    answer.dump.restored = False
    options.external += stdio.write(options.images_dir, _host_files(options))
    dump_tree(options)


def _pre_dump(work: Work, _: m.criu_resp) -> None:
    from cr.api import pre_dump_tree

    options = work.options()
    check("pre-dump", _aimed(options, work.client))
    pre_dump_tree(options)


def _aimed(options: Options, client: Client) -> Options:
    """The tree that is meant: without a pid, the client itself."""
    if not options.tree:
        options.tree = client.pid
    elif client.apart and not _same_pids(client.pid):
        raise CheckpointError(
            f"process {client.pid} lives in another pid namespace: its pid {options.tree} means nothing here"
        )
    if client.apart:
        _check_right(options.tree)
    return options


def _check_right(pid: int) -> None:
    """The kernel's rule for looking at a process, as it applies to the client, whose rights we have taken on."""
    try:
        os.readlink(f"/proc/{pid}/ns/pid")
    except PermissionError as error:
        raise CheckpointError(f"user {os.getuid()} has no right to dump process {pid}") from error
    except FileNotFoundError:
        return  # the dump says that there is none


def _same_pids(pid: int) -> bool:
    return os.stat(f"/proc/{pid}/ns/pid").st_ino == os.stat("/proc/self/ns/pid").st_ino


def _host_files(options: Options) -> list[str]:
    """What a runtime has left to its container; see cr.stdio.  Nothing where the dump itself will say what is wrong."""
    try:
        return stdio.host_files(options.tree)
    except OSError:
        return []


def _restore(work: Work, answer: m.criu_resp) -> Successor | None:
    from cr.api import restore_tree
    from cr.guard import interruptible

    options = work.options()
    options.restore_detached = True
    check("restore", options)
    successor = _successor(work, options)
    known = {entry.partition(":")[2] for entry in options.inherit_fd}
    if not work.client.apart:
        options.inherit_fd += stdio.inherit("" if name in known else name for name in stdio.read(options.images_dir))
    with interruptible():
        answer.restore.pid = restore_tree(options).pid
    return successor


def _successor(work: Work, options: Options) -> Successor | None:
    """The command of exec_cmd, which is to run where the log is, and to write into it."""
    words = list(work.request.opts.exec_cmd)
    if not words:
        return None
    place = options.work_dir or options.images_dir
    return Successor(words, directory=place, output=log.duplicate(), apart=work.client.apart)


def _check(work: Work, _: m.criu_resp) -> None:
    from cr.check import features
    from cr.check.feature import NEEDED, problem

    work.look_over()
    if work.request.opts.log_file:
        work.options()  # opens it
    needed = [feature for feature in features().values() if feature.category == NEEDED]
    missing = [f"{feature.name} ({why})" for feature in needed if (why := problem(feature))]
    if missing:
        raise CheckpointError(f"this kernel lacks what is needed: {', '.join(missing)}")
    log.info(f"this kernel has what is needed ({len(needed)} features)")


def _cpuinfo(work: Work, word: str) -> None:
    from cr.cpuinfo import run

    options = work.options()
    options.operands = [word]
    run(options)


def _cpuinfo_dump(work: Work, _: m.criu_resp) -> None:
    _cpuinfo(work, "dump")


def _cpuinfo_check(work: Work, _: m.criu_resp) -> None:
    _cpuinfo(work, "check")


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


def _page_server(work: Work, answer: m.criu_resp, *, detached: bool = True) -> None:
    from cr.page_server import start

    answer.ps.pid, answer.ps.port = start(work.options(), detached=detached)


def _page_server_child(work: Work, answer: m.criu_resp) -> None:
    """One that WAIT_PID can wait for."""
    _page_server(work, answer, detached=False)


ACTIONS = {
    1: Action(_dump, "Dumping"),
    2: Action(_restore, "Restoring"),
    3: Action(_check, "Checking"),
    4: Action(_pre_dump, "Pre-dumping", goes_on=True),
    5: Action(_page_server, "Serving pages"),
    7: Action(_cpuinfo_dump, "Looking"),
    8: Action(_cpuinfo_check, "Looking"),
    9: Action(_features, "Checking"),
    10: Action(_version, "Saying the version"),
    11: Action(_wait, "Waiting"),
    12: Action(_page_server_child, "Serving pages"),
    13: Action(_pre_dump, "Pre-dumping"),
}
"""By criu_req_type."""
