"""What the faces of the engine (command line, RPC, Python) call: options in, report out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cr import log
from cr.contract.plugins import plugged
from cr.guard import held
from cr.model import CheckpointError, DumpReport, RestoreReport
from cr.options import Notify, Options
from cr.progress import Progress
from cr.scripts import with_scripts
from cr.values import replace
from cr.work import remove_pidfile, tell_status, write_dump_stats, write_pidfile, write_restore_stats


def dump_tree(options: Options) -> DumpReport:
    """Dump in a child of ours (see cr.guard), then write the statistics."""
    from cr.dump import flow, preload

    _check("dump", options)
    preload.preload()
    notify = _with_status(options, with_scripts(options, options.notify))

    def work(tell: Notify) -> DumpReport:
        with plugged(options, "dump"):
            return flow.dump(replace(options, notify=tell))

    report = held(work, notify, Progress(f"dumping the tree of process {options.tree}", options.images_dir))
    _complete(options, report)
    log.info(f"dumped {report.tasks} tasks, frozen for {report.frozen_time} us")
    return report


def pre_dump_tree(options: Options) -> DumpReport:
    """Write the memory of a tree, which runs on, tracked; a later dump names it with `prev_images_dir`."""
    from cr.dump import predump, preload

    _check("pre-dump", options)
    preload.preload()
    notify = with_scripts(options, options.notify)

    def work(tell: Notify) -> DumpReport:
        with plugged(options, "pre-dump"):
            return predump.pre_dump(replace(options, track_mem=True, notify=tell))

    report = held(work, notify, Progress(f"pre-dumping the tree of process {options.tree}", options.images_dir))
    _complete(options, report)
    log.info(f"pre-dumped {report.tasks} tasks, frozen for {report.frozen_time} us")
    return report


def _complete(options: Options, report: DumpReport) -> None:
    write_dump_stats(options, report)
    if options.auto_dedup and options.prev_images_dir and not options.page_server:
        from cr.dedup import dedup_tree

        dedup_tree(options.images_dir)
    if not options.lazy_pages:
        tell_status(options)


def _with_status(options: Options, notify: Notify | None) -> Notify | None:
    """A dump whose pages stay in the tasks tells --status-fd when they can be fetched, not when all is over."""
    if not options.lazy_pages:
        return notify

    def tell(event: str, pid: int = 0, fd: int | None = None) -> None:
        if event == "status-ready":
            tell_status(options)
        if notify is not None:
            notify(event, pid, fd)

    return tell


def restore_tree(options: Options) -> RestoreReport:
    """Restore; the new root task is our child."""
    from cr.restore import flow

    _check("restore", options)
    with plugged(options, "restore"), _pidfile(options, with_scripts(options, options.notify)) as notify:
        report = flow.restore(replace(options, notify=notify))
    if not options.dry_run:
        write_restore_stats(options, report)
    if options.auto_dedup and not options.dry_run and not options.lazy_pages:
        from cr.dedup import free_restored

        free_restored(options.images_dir)
    return report


@contextmanager
def _pidfile(options: Options, notify: Notify | None) -> Iterator[Notify | None]:
    """Scripts that set up namespaces find the root's pid in the --pidfile already; a restore that fails leaves none."""
    if not options.pidfile:
        yield notify
        return
    written = False

    def tell(event: str, pid: int = 0, fd: int | None = None) -> None:
        nonlocal written
        if event == "setup-namespaces":
            write_pidfile(options, pid)
            written = True
        if notify is not None:
            notify(event, pid, fd)

    try:
        yield tell
    except BaseException:
        if written:
            remove_pidfile(options)
        raise


def _check(command: str, options: Options) -> None:
    """What is wrong with the options is said before anything is touched."""
    from cr.contract.outside import Outside
    from cr.contradictions import check

    _check_rights(command, options)
    check(command, options)
    if options.lsm_profile:
        from cr.resources.tasks.security_label import parse

        parse(options.lsm_profile)
    Outside.of(options)


def _check_rights(command: str, options: Options) -> None:
    """CheckpointError where we are not root, and were not told to do without, or lack the least that is needed."""
    if os.geteuid() == 0:
        return
    if not options.unprivileged:
        raise CheckpointError(f"{command} must be run as root; --unprivileged tries without")
    from cr.kernel.capabilities import has

    if not (has("CAP_CHECKPOINT_RESTORE") or has("CAP_SYS_ADMIN")):
        raise CheckpointError(f"{command} --unprivileged needs at least the capability CAP_CHECKPOINT_RESTORE")
