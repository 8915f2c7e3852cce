"""Tasks that wait in vfork(2): nothing stops them until their child has called exec, or ended."""

from __future__ import annotations

from cr.contract.dumping import DumpTask, DumpThread
from cr.kernel import pidfd, proc

_PLACES = frozenset({"kernel_clone", "wait_for_vfork_done", "wait_for_completion_state"})
"""where the kernel has such a thread sleep, by name of its function; it depends on what the compiler inlines"""


def waits(thread: DumpThread) -> bool:
    return proc.read_text(thread.tid, "wchan") in _PLACES


def is_vfork_child(task: DumpTask, parent: DumpTask) -> bool:
    """Whether it still has its parent's memory."""
    if task.parent is not parent or not task.threads:
        return False
    try:
        return not pidfd.kcmp(parent.pid, task.pid, pidfd.KCMP_VM)
    except ProcessLookupError:
        return False
