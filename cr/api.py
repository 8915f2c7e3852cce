"""What the faces of the engine (command line, RPC, Python) call: options in, report out."""

from __future__ import annotations

import os
from dataclasses import replace

from cr import log
from cr.guard import held
from cr.model import DumpReport, RestoreReport
from cr.options import Notify, Options


def dump_tree(options: Options) -> DumpReport:
    """Dump in a child of ours (see cr.guard), then write the pid file and the statistics."""
    from cr.dump import flow, preload

    preload.preload()
    notify = with_scripts(options, options.notify)

    def work(tell: Notify) -> DumpReport:
        return flow.dump(replace(options, notify=tell))

    report = held(work, notify)
    log.info(f"dumped {report.tasks} tasks, frozen for {report.frozen_time} us")
    return report


def restore_tree(options: Options) -> RestoreReport:
    """Restore; the new root task is our child."""
    from cr.restore import flow

    return flow.restore(replace(options, notify=with_scripts(options, options.notify)))


def with_scripts(options: Options, notify: Notify | None) -> Notify | None:
    """The notification function that also runs the action scripts."""
    if not options.action_script:
        return notify
    from cr.scripts import run_scripts

    def both(event: str, pid: int = 0, fd: int | None = None) -> None:
        run_scripts(options, event, pid)
        if notify is not None:
            notify(event, pid, fd)

    return both


def work_directory(options: Options) -> int:
    """A descriptor of the directory for logs, pid files and statistics."""
    return os.open(options.work_dir or options.images_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def write_pidfile(options: Options, pid: int) -> None:
    """`--pidfile`: made anew, never written through an existing file; relative to the work directory."""
    if not options.pidfile:
        return
    directory = work_directory(options)
    try:
        fd = os.open(options.pidfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        os.write(fd, str(pid).encode())
        os.close(fd)
    finally:
        os.close(directory)
