"""Processes whose main thread has exited while others live on (pthread_exit(3)).

Another thread answers for the process.  The images have the main thread all the same: the restore makes it first,
and lets it exit when all is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cr.contract.dumping import DumpTask
from cr.kernel import proc

if TYPE_CHECKING:
    from images import messages as m


def image(core: m.core_entry, task: DumpTask) -> m.core_entry:
    """The main thread's, from that of the thread in its place: what is the process's, and nothing of the thread's own
    that the exit would touch."""
    from images import messages as m

    main = m.core_entry()
    main.CopyFrom(core)
    main.tc.comm = main.thread_core.comm = proc.read_text(task.tgid, "comm").rstrip("\n")
    main.thread_info.clear_tid_addr = 0
    main.thread_core.futex_rla = main.thread_core.futex_rla_len = 0
    for field in ("signals_p", "rseq_entry", "pdeath_sig"):
        main.thread_core.ClearField(field)
    return main


def ids_of_threads(task: DumpTask) -> list[int]:
    """What pstree.img lists: the main thread first."""
    others = [] if task.is_zombie else [thread.vtid for thread in task.threads]
    return list(dict.fromkeys([task.vpid, *others]))
