"""A pre-dump: only the memory, and from then on note what is written; the tasks stand still for a moment only.

The pages are copied while the tasks run on: what they write meanwhile the next dump writes again.
"""

from __future__ import annotations

import time

from cr import log
from cr.contract.dumping import DumpContext, DumpTask, note
from cr.dump import destination, memory, preflight, tracking, user_faults
from cr.dump.copier import Copier
from cr.dump.freeze import FrozenTree
from cr.dump.objects import KernelObjects
from cr.dump.pages import PrivatePages
from cr.dump.scout import tasks
from cr.kernel import proc
from cr.model import DumpReport, Refused
from cr.options import Options
from images.directory import ImageDirectory

_READ = 2  # inventory_entry.pre_dump_mode: memory was read by process_vm_readv(2)


def pre_dump(options: Options) -> DumpReport:
    """Write the memory of the tree of `options.tree` into `options.images_dir`; the tasks run on, tracked."""
    report = DumpReport()
    images = ImageDirectory.create(options.images_dir)
    tree = FrozenTree(options.tree, time.monotonic() + options.timeout, options.freeze_cgroup)
    context = DumpContext(options, images, report)
    copier = context.once("copier", lambda: Copier(living=True))
    context.at_end.append(copier.abort)
    try:
        destination.prepare(context, goes_on=True)
        _look(context)
        images.uncommit()
        found = _freeze(tree, context)
        for task, pages in found:
            memory.write_pages(pages, task, context, task.pid)
        memory.finish_pages(context)
        tracking.begin(context).hand_over(context.run_id)
        _commit(context)
        tracking.begin(context).keep()
    except BaseException:
        tree.release()
        images.discard()
        raise
    finally:
        for action in context.at_end:
            action()
    return report


def _look(context: DumpContext) -> None:
    """From outside: can these tasks be frozen, and does the parent snapshot fit them?"""
    preflight.check_root(context.options.tree)
    tree = list(tasks(context.options.tree))
    reasons: list[str] = []
    for task in tree:
        try:
            reasons += preflight.obstacles(task, tree, context.options)
        except (ProcessLookupError, FileNotFoundError):
            continue  # it ended while we looked
    if reasons:
        raise Refused(list(dict.fromkeys(reasons)))
    user_faults.look(tree, context)
    tracking.begin(context).report(tree)


def _freeze(tree: FrozenTree, context: DumpContext) -> list[tuple[DumpTask, PrivatePages]]:
    """What is to be written of each task, as of one moment."""
    report, began = context.report, time.monotonic_ns()
    tree.freeze()
    frozen = time.monotonic_ns()
    context.tasks = list(tree.tasks.values())
    report.tasks = len(context.tasks)
    objects = KernelObjects()
    found = []
    for task in context.live_tasks:
        task.ids = {"vm_id": objects.tables["vm"].number(task.pid)[0]}
        with note(f"while pre-dumping {task}"):
            found.append((task, _pages(task, context)))
    tree.release()
    report.freezing_time, report.frozen_time = (frozen - began) // 1000, (time.monotonic_ns() - frozen) // 1000
    return found


def _pages(task: DumpTask, context: DumpContext) -> PrivatePages:
    track, private = tracking.begin(context), memory.Private()
    if user_faults.in_use(context):
        track.recognise(task)
    elif task.leader.status["VmLck"] == "0 kB":  # all that flags could tell us: smaps takes long for much memory
        task.mappings = proc.plain_mappings(task.pid)
    for mapping in task.mappings:
        if not user_faults.modes_of(mapping):  # whoever reads it, when the program runs, may have to wait for a page
            private.add(mapping, memory.claim(mapping))
    pages = private.find(task, context)
    pages.lazy = private.lazy
    track.arm(task, private.anonymous)
    context.report.pages_scanned += private.size // 4096
    return pages


def _commit(context: DumpContext) -> None:
    from images import messages as m

    context.images.commit(
        m.inventory_entry(
            img_version=2,
            fdinfo_per_id=True,
            ns_per_id=True,
            pre_dump_mode=_READ,
            dump_uptime=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
            dump_criu_run_id=context.run_id,
        )
    )
    log.info(f"pre-dump {context.run_id}: {context.report.pages_written} pages")
