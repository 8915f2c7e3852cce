"""A dump from beginning to end: freeze, collect, write, finish."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial

from cr import cpuinfo, log
from cr.contract import plugins
from cr.contract.dumping import DumpContext, note
from cr.contract.lineage import objection
from cr.dump import destination, foresight, main_thread, nesting, snapshot, tracking, user_faults
from cr.dump.copier import Copier
from cr.dump.files import FileTable
from cr.dump.freeze import FrozenTree
from cr.dump.image_sink import ImageSink
from cr.dump.lending import lending
from cr.dump.memory import finish_pages
from cr.dump.namespaces import dump_namespaces
from cr.dump.objects import KernelObjects
from cr.dump.one_task import dump_task
from cr.dump.scout import scout, tasks
from cr.kernel import prefault
from cr.kernel.rlimit import many_descriptors
from cr.kernel.scheduling import hurry, relax
from cr.model import DumpReport, Refused
from cr.options import Options
from cr.resources.namespaces import network_lock
from cr.values import replace
from images.directory import ImageDirectory


def dump(options: Options) -> DumpReport:
    """Dump the tree of `options.tree` into `options.images_dir`; whatever happens, the tree is not harmed."""
    try:
        with many_descriptors():
            return _dump(options)
    except snapshot.SnapshotLost as error:
        log.warning(f"{error}: once more, with the tasks standing still while their memory is written")
        again = replace(options, snapshot="never")
    except foresight.ChangedMeanwhile as error:
        log.warning(f"{error}: once more, without relying on what was seen before it")
        again = options
    with many_descriptors():
        return _dump(again, foreseen=False)


def _dump(options: Options, *, foreseen: bool = True) -> DumpReport:
    report = DumpReport()
    images = ImageDirectory.create(options.images_dir)
    context = DumpContext(options, images, report)
    foresight.begin(context, trusted=foreseen)
    destination.prepare(context, goes_on=options.track_mem)
    scout(context)
    context.at_end.append(context.once("copier", Copier).abort)  # its buffers are populated now
    images.uncommit()
    images.later = ImageSink(images)
    if options.cpu_cap is not None:
        cpuinfo.write_if_asked(images, options)
    options.notification("pre-dump")
    known = [task.pid for task in tasks(options.tree)] if plugins.active() else []
    tree = FrozenTree(options.tree, time.monotonic() + options.timeout, options.freeze_cgroup)
    try:
        plugins.pause(known)
        host_ids = _dump_frozen(tree, context)
        if snapshot.begin(context):
            _run_on(tree, context)
            _commit(context, host_ids)
        else:
            _commit(context, host_ids)
            _note_frozen(context)  # they still stand
        tracking.begin(context).keep()
        options.notification("post-dump")
        if (later := lending(context)) is not None:
            later.serve()
        context.succeeded = True
    except BaseException:
        _do_what_can_be_done(context.at_release)
        tree.release()
        for problem in context.undo.run():
            log.warning(f"could not be taken back: {problem}")
        images.discard()
        raise
    else:
        context.undo.forget()
        _finish(tree, context)
    finally:
        _do(context.at_release)
        _do(context.at_end)  # the tasks need not wait for it
        if options.leave_running or options.leave_stopped or not context.succeeded:
            plugins.resume(known)
    return report


def _do(actions: list[Callable[[], None]]) -> None:
    """Each once."""
    while actions:
        actions.pop(0)()


def _do_what_can_be_done(actions: list[Callable[[], None]]) -> None:
    """On the way out of a failure: whoever is told of it may be gone, and the rest must be done nevertheless."""
    while actions:
        try:
            actions.pop(0)()
        except Exception as error:
            log.warning(f"while giving up: {error}")


def _dump_frozen(tree: FrozenTree, context: DumpContext) -> dict[str, int]:
    """All but the inventory, and what is written while the tasks run on; the ids of our own namespaces."""
    snapshot.begin(context).prepare(context.scouted)
    prefault.populate()
    own_nice = hurry()
    context.at_release.append(lambda: relax(own_nice))
    gc.disable()
    context.at_release.append(gc.enable)
    began = time.monotonic_ns()
    tree.freeze()
    frozen = time.monotonic_ns()
    context.report.freezing_time = (frozen - began) // 1000
    context.frozen_since = frozen
    context.tasks = list(tree.tasks.values())
    context.report.tasks = len(context.tasks)
    plugins.checkpoint(task.pid for task in context.live_tasks)
    network_lock.lock(context)
    context.options.notification("query-ext-files")
    return _collect(context)


def _note_frozen(context: DumpContext) -> None:
    context.report.frozen_time = (time.monotonic_ns() - context.frozen_since) // 1000


def _run_on(tree: FrozenTree, context: DumpContext) -> None:
    """Let the tasks go; then write their memory from its copies."""
    _do(context.at_release)
    tree.release()
    _note_frozen(context)
    copies = snapshot.begin(context)
    copies.later(partial(finish_pages, context))
    copies.write()


def _collect(context: DumpContext) -> dict[str, int]:
    objects = KernelObjects()
    inventory_ids = objects.namespace_ids("self")
    context.registry = table = FileTable(context)
    for task in context.live_tasks:
        task.ids = objects.describe(task)
        foresight.begin(context).recall(task)
        tracking.begin(context).recognise(task)
    context.shared["namespace numbers"] = objects.namespaces
    dumped_tables: set[int] = set()
    for task in context.live_tasks:
        if task.ids["files_id"] not in dumped_tables:
            dumped_tables.add(task.ids["files_id"])
            table.dump_task(task)
    table.settle()
    user_faults.settle(context)
    for task in context.tasks:
        with note(f"while dumping {task}"), log.about(task.pid):
            dump_task(task, context)
    dump_namespaces(context, inventory_ids)
    nesting.record(context)
    table.write()
    plugins.write(context)
    if snapshot.begin(context):
        context.once("copier", Copier).finish()  # the rest follows when the tasks run
    else:
        finish_pages(context)
    _write_tree(context)
    foresight.begin(context).verify()
    if context.obstacles:
        raise Refused(context.obstacles)
    tracking.begin(context).hand_over(context.run_id)
    return inventory_ids


def _write_tree(context: DumpContext) -> None:
    from images import messages as m

    entries = [
        m.pstree_entry(
            pid=task.vpid,
            ppid=task.vppid,
            pgid=task.vpgid,
            sid=task.vsid,
            threads=main_thread.ids_of_threads(task),
        )
        for task in context.tasks
    ]
    if reason := objection(entries):
        context.refuse(reason)
    context.images.write("pstree", entries=entries)


def _commit(context: DumpContext, host_ids: dict[str, int]) -> None:
    from images import messages as m

    root_ids = m.task_kobj_ids_entry(vm_id=0, files_id=0, fs_id=0, sighand_id=0, **host_ids)
    inventory = m.inventory_entry(
        img_version=2,
        fdinfo_per_id=True,
        ns_per_id=True,
        root_ids=root_ids,
        lsmtype=m.lsmtype.NO_LSM,
        dump_uptime=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
    )
    inventory.tcp_close = context.options.tcp_close
    if context.options.allow_uprobes:
        inventory.allow_uprobes = True
    for change in context.shared.get("inventory", []):  # type: ignore[attr-defined]
        change(inventory)
    context.images.commit(inventory)


def _finish(tree: FrozenTree, context: DumpContext) -> None:
    if not context.options.track_mem and (context.options.leave_running or context.options.leave_stopped):
        tracking.begin(context).end()
    if context.options.leave_running:
        _do(context.at_release)
        tree.release()
    elif context.options.leave_stopped:
        tree.stop()
    else:
        for action in context.at_kill:
            action()
        tree.kill()
