"""What goes into the work directory (-W): pid files and statistics."""

from __future__ import annotations

import os

from cr.model import CheckpointError, DumpReport, RestoreReport
from cr.options import Options
from images.directory import ImageDirectory


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
    except FileExistsError as error:
        raise CheckpointError(
            f"--pidfile {options.pidfile}: there is such a file; remove it, or name another"
        ) from error
    finally:
        os.close(directory)


def remove_pidfile(options: Options) -> None:
    """What it named is gone, or never was."""
    if not options.pidfile:
        return
    directory = work_directory(options)
    try:
        os.unlink(options.pidfile, dir_fd=directory)
    finally:
        os.close(directory)


def write_dump_stats(options: Options, report: DumpReport) -> None:
    """stats-dump, as `crit show` and container managers read it; times in microseconds."""
    from images import messages as m

    entry = m.dump_stats_entry(
        freezing_time=report.freezing_time,
        frozen_time=report.frozen_time,
        memdump_time=report.memdump_time,
        memwrite_time=report.memwrite_time,
        pages_scanned=report.pages_scanned,
        pages_skipped_parent=report.pages_skipped_parent,
        pages_written=report.pages_written,
        pages_lazy=report.pages_lazy,
        shpages_scanned=report.shpages_written,
        shpages_skipped_parent=0,
        shpages_written=report.shpages_written,
    )
    _write(options, "stats-dump", m.stats_entry(dump=entry))


def write_restore_stats(options: Options, report: RestoreReport) -> None:
    """stats-restore; times in microseconds."""
    from images import messages as m

    entry = m.restore_stats_entry(
        pages_compared=0,
        pages_skipped_cow=0,
        pages_restored=report.pages_restored,
        forking_time=report.forking_time,
        restore_time=report.restore_time,
    )
    _write(options, "stats-restore", m.stats_entry(restore=entry))


def _write(options: Options, kind: str, entry: object) -> None:
    fd = work_directory(options)
    try:
        with ImageDirectory.from_fd(fd) as directory:
            directory.write(kind, entries=[entry])  # type: ignore[list-item]
    finally:
        os.close(fd)


def tell_status(options: Options) -> None:
    """`--status-fd`: whoever waits at the other end goes on."""
    if options.status_fd >= 0:
        os.write(options.status_fd, b"\0")
    forget_status(options)


def forget_status(options: Options) -> None:
    """In a process that is not the one to tell: its copy must not keep the reader waiting for the end."""
    if options.status_fd >= 0:
        os.close(options.status_fd)
