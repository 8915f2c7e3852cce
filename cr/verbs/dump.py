"""`woodfrog-criu dump`: checkpoint a process tree."""

from __future__ import annotations

from cr.options import Options


def run(options: Options) -> int:
    """0 once the images are complete; CheckpointError says what stands against it."""
    from cr.api import dump_tree
    from cr.stats import show_dump

    report = dump_tree(options)
    if options.display_stats:
        show_dump(report)
    return 0
