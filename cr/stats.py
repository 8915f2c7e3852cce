"""stats-dump and stats-restore in the work directory."""

from __future__ import annotations

import os

from cr.api import work_directory
from cr.model import DumpReport, RestoreReport
from cr.options import Options
from images.directory import ImageDirectory


def write_dump_stats(options: Options, report: DumpReport) -> None:
    """stats-dump, as `crit show` and container managers read it; times in microseconds."""
    from images import messages as m

    entry = m.dump_stats_entry(
        freezing_time=report.freezing_time,
        frozen_time=report.frozen_time,
        memdump_time=report.memdump_time,
        memwrite_time=report.memwrite_time,
        pages_scanned=report.pages_scanned,
        pages_skipped_parent=0,
        pages_written=report.pages_written,
        pages_lazy=0,
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


def show_dump(report: DumpReport) -> None:
    """--display-stats, in the words of criu."""
    print("Displaying dump stats:")
    print(f"Freezing time: {report.freezing_time} us")
    print(f"Frozen time: {report.frozen_time} us")
    print(f"Memory dump time: {report.memdump_time} us")
    print(f"Memory write time: {report.memwrite_time} us")
    print(f"Memory pages scanned: {report.pages_scanned}")
    print(f"Memory pages written: {report.pages_written} ({report.pages_written:#x})")
    print(f"Shared memory pages written: {report.shpages_written}")


def show_restore(report: RestoreReport) -> None:
    """--display-stats, in the words of criu."""
    print("Displaying restore stats:")
    print(f"Pages restored: {report.pages_restored} ({report.pages_restored:#x})")
    print(f"Restore time: {report.restore_time} us")
    print(f"Forking time: {report.forking_time} us")
