"""--display-stats."""

from __future__ import annotations

from cr.model import DumpReport, RestoreReport


def show_dump(report: DumpReport) -> None:
    """--display-stats, in the words of criu."""
    print("Displaying dump stats:")
    print(f"Freezing time: {report.freezing_time} us")
    print(f"Frozen time: {report.frozen_time} us")
    print(f"Memory dump time: {report.memdump_time} us")
    print(f"Memory write time: {report.memwrite_time} us")
    print(f"Memory pages scanned: {report.pages_scanned}")
    print(f"Memory pages skipped from parent: {report.pages_skipped_parent} ({report.pages_skipped_parent:#x})")
    print(f"Memory pages written: {report.pages_written} ({report.pages_written:#x})")
    print(f"Shared memory pages written: {report.shpages_written}")


def show_restore(report: RestoreReport) -> None:
    """--display-stats, in the words of criu."""
    print("Displaying restore stats:")
    print(f"Pages restored: {report.pages_restored} ({report.pages_restored:#x})")
    print(f"Restore time: {report.restore_time} us")
    print(f"Forking time: {report.forking_time} us")
