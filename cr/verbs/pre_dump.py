"""`woodfrog-criu pre-dump`: write the memory of a tree that runs on, and track what it writes from then on."""

from __future__ import annotations

from cr.options import Options


def run(options: Options) -> int:
    """0 once the snapshot is complete; CheckpointError says what stands against it."""
    from cr.api import pre_dump_tree
    from cr.stats import show_dump

    report = pre_dump_tree(options)
    if options.display_stats:
        show_dump(report)
    return 0
