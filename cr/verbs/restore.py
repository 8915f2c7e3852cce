"""`woodfrog-criu restore`: a process tree from its images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cr.model import CheckpointError
from cr.options import Options

if TYPE_CHECKING:
    from cr.successor import Successor


def run(options: Options) -> int:
    """0; with neither --restore-detached nor --dry-run once the root task has ended, however that did, as criu does."""
    from cr.api import restore_tree
    from cr.guard import interruptible
    from cr.stats import show_restore

    if options.restore_sibling and not options.restore_detached:
        raise CheckpointError("--restore-sibling makes sense only with --restore-detached: we are not its parent")
    command = _command(options)
    with interruptible():
        report = restore_tree(options)
    for step in report.steps:
        print(step)
    if options.dry_run:
        return 0
    if options.display_stats:
        show_restore(report)
    if command:
        command.take_over()
    if options.restore_detached:
        return 0
    os.waitpid(report.pid, 0)
    return 0


def _command(options: Options) -> Successor | None:
    """What --exec-cmd asks for."""
    if not options.operands:
        return None
    if not options.exec_cmd:
        raise CheckpointError("a command behind -- is run only with --exec-cmd")
    from cr.successor import Successor

    return Successor(options.operands)
