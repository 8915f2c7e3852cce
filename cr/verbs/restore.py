"""`woodfrog-criu restore`: a process tree from its images."""

from __future__ import annotations

import os

from cr.options import Options


def run(options: Options) -> int:
    """0, or with neither --restore-detached nor --dry-run the exit status of the root task."""
    from cr.api import restore_tree
    from cr.guard import interruptible
    from cr.stats import show_restore

    with interruptible():
        report = restore_tree(options)
    for step in report.steps:
        print(step)
    if options.dry_run:
        return 0
    if options.display_stats:
        show_restore(report)
    if options.restore_detached:
        return 0
    _, status = os.waitpid(report.pid, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF
