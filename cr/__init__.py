"""The checkpoint/restore engine: freeze a process tree into a directory of images, and thaw it.

    import cr
    report = cr.dump(4242, "/var/tmp/images", leave_running=True)
    report = cr.restore("/var/tmp/images", restore_detached=True)

Options are the long options of `woodfrog-criu` with underscores (see cr.options.Options).
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` costs 6 ms, and VERSION of the RPC must be answered at once
if TYPE_CHECKING:
    from typing import Any

    from cr.model import DumpReport, RestoreReport

# The packages cr.dump and cr.restore are bound as attributes of this one at their first import, which is now:
# afterwards the functions of the same names stand in front of them (`from cr.dump import flow` goes on to work).
__import__("cr.dump")
__import__("cr.restore")


def dump(pid: int, directory: str, **options: Any) -> DumpReport:
    """Dump the tree that starts at `pid` into `directory`.

    Raises cr.model.Refused with every reason where the tree holds something that cannot be dumped,
    cr.model.CheckpointError, images.ImageError or OSError where it fails otherwise.  The tree is as it was
    before whenever this raises, and when the calling process is killed.
    """
    from cr.api import dump_tree
    from cr.options import Options

    return dump_tree(Options(tree=pid, images_dir=str(directory), **options))


def pre_dump(pid: int, directory: str, **options: Any) -> DumpReport:
    """Write the memory of the tree that starts at `pid` into `directory`; it runs on, its writes are tracked.

    The next one, or the dump, gets `prev_images_dir` (relative to its own directory) and writes what has changed.
    Raises as `dump` does.
    """
    from cr.api import pre_dump_tree
    from cr.options import Options

    return pre_dump_tree(Options(tree=pid, images_dir=str(directory), **options))


def restore(directory: str, **options: Any) -> RestoreReport:
    """Restore the tree whose images are in `directory`; `report.pid` is its root, a child of ours.

    Raises as `dump` does; then nothing of the tree is left.
    """
    from cr.api import restore_tree
    from cr.options import Options

    return restore_tree(Options(images_dir=str(directory), **options))
