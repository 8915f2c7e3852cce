"""What the faces of the engine (command line, RPC, Python) call: options in, report out."""

from __future__ import annotations

from cr import log
from cr.guard import held
from cr.model import DumpReport, RestoreReport
from cr.options import Notify, Options
from cr.progress import Progress
from cr.values import replace
from cr.work import tell_status, write_dump_stats, write_pidfile, write_restore_stats


def dump_tree(options: Options) -> DumpReport:
    """Dump in a child of ours (see cr.guard), then write the statistics."""
    from cr.contract.outside import Outside
    from cr.dump import flow, preload

    preload.preload()
    Outside.of(options)  # what is wrong with the options is said before anything is touched
    notify = with_scripts(options, options.notify)

    def work(tell: Notify) -> DumpReport:
        return flow.dump(replace(options, notify=tell))

    report = held(work, notify, Progress(f"dumping the tree of process {options.tree}", options.images_dir))
    write_dump_stats(options, report)
    tell_status(options)
    log.info(f"dumped {report.tasks} tasks, frozen for {report.frozen_time} us")
    return report


def restore_tree(options: Options) -> RestoreReport:
    """Restore; the new root task is our child."""
    from cr.contract.outside import Outside
    from cr.restore import flow

    Outside.of(options)
    report = flow.restore(replace(options, notify=with_scripts(options, options.notify)))
    if not options.dry_run:
        write_pidfile(options, report.pid)
        write_restore_stats(options, report)
    return report


def with_scripts(options: Options, notify: Notify | None) -> Notify | None:
    """The notification function that also runs the action scripts."""
    if not options.action_script:
        return notify
    from cr.scripts import run_scripts

    def both(event: str, pid: int = 0, fd: int | None = None) -> None:
        run_scripts(options, event, pid)
        if notify is not None:
            notify(event, pid, fd)

    return both
