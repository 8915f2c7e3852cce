"""A restore from beginning to end: read, build, resume."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from cr import log
from cr.contract import plugins
from cr.contract.resource import Stage, fd_resource, fd_resources, task_resources
from cr.contract.restoring import RestoreContext, RestoreThread
from cr.kernel.rlimit import many_descriptors
from cr.model import RestoreReport
from cr.options import Options
from cr.remote import puppet
from cr.remote.letting_go import let_go
from cr.remote.program import Program
from cr.remote.tracee import Tracee
from cr.resources.namespaces import network_lock
from cr.resources.tasks import namespaces_of_children
from cr.restore import births, deaths, directories, helpers, namespaces
from cr.restore.handover import Channel, Placement, place
from cr.restore.laziness import Laziness, laziness
from cr.restore.memory import AddressSpace
from cr.restore.plan import plan
from cr.restore.read import read
from cr.restore.sessions import Family
from cr.restore.vdso import leave


def restore(options: Options) -> RestoreReport:
    """Bring the tree in `options.images_dir` back to life; on failure nothing of it remains."""
    began = time.monotonic_ns()
    context = read(options)
    if options.dry_run:
        context.report.steps = list(plan(context))
        return context.report
    with many_descriptors(), no_collections():
        _build(Builder(context), options)
    options.notification("post-resume")
    context.report.restore_time = (time.monotonic_ns() - began) // 1000
    return context.report


@contextmanager
def no_collections() -> Iterator[None]:
    """A large tree makes many objects, none of them garbage: the collector would look at them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _build(builder: Builder, options: Options) -> None:
    context = builder.context
    try:
        options.notification("pre-restore")
        builder.build()
        options.notification("post-restore", context.root.puppet.tid)
        options.notification("network-unlock")
        options.notification("pre-resume")
        builder.promise()
    except BaseException:
        builder.abandon()
        raise
    builder.resume()


class Builder:
    """Turns puppets into the tasks of the images."""

    def __init__(self, context: RestoreContext) -> None:
        self.context = context
        self.channel = Channel()
        self.seed: Tracee | None = None

    def build(self) -> None:
        """Everything up to the moment when all tasks stand complete and still."""
        context = self.context
        later = laziness(context)
        self._make_root()
        for resource in fd_resources():
            resource.foresee(context)
        self._grow()
        if later is not None:
            later.hand_over()
        namespaces.join_user(context)
        for task in context.live_tasks:
            births.bear_threads(context, task)
        for action in context.when_grown:
            action()
        network_lock.hold(context)
        self._place_descriptors()
        for stage in Stage:
            self._rebuild(stage)
        for action in (*context.at_end, *context.last):
            action()
        self._complete()

    def _grow(self) -> None:
        """All processes with their address spaces, sessions and groups; those that are to be zombies die."""
        context = self.context
        family = Family(context)
        for task in family.grow():
            if not task.is_zombie and births.owns(task, "vm_id"):
                AddressSpace(task, context, self.channel).build()
        family.group()
        for task in context.tasks:
            if task.is_zombie:
                deaths.die(task, context)

    def _complete(self) -> None:
        """Our scratch memory goes, registers are set; tasks that were stopped stop again, children first."""
        context = self.context
        for task in reversed(context.live_tasks):
            deaths.settle_news(task, context)
            if births.owns(task, "vm_id"):
                leave(task, context.foothold)
            deaths.exit_main_thread(task, context)
            for thread in task.threads:
                thread.puppet.store()
            if task.stop_signal:
                deaths.stop_again(task, context)

    def _make_root(self) -> None:
        context = self.context
        context.root_fd = os.open(context.options.root or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        context.give = self.channel.give
        context.process_once_more = partial(helpers.once_more, context)
        context.passing_child = partial(helpers.passing_child, context)
        flags = namespaces.clone_flags(context)
        if context.options.restore_sibling and namespaces.all_new(context):
            births.bear_only_root(context, self.channel, flags)
        else:
            self.seed = births.sow(context, self.channel)
            namespaces.prepare_seed(context, self.seed)
            births.bear_root(context, self.seed, flags)
            self.seed = None
        namespaces.look_from_inside(context)
        namespaces.fill(context)

    def _place_descriptors(self) -> None:
        context = self.context
        for task in context.live_tasks:
            directories.enter(task, context, self.channel)
        for resource in fd_resources():
            resource.prepare(context)
        for task in context.live_tasks:
            namespaces_of_children.of_pids(task, context)
        for task in context.live_tasks:
            if births.owns(task, "files_id"):
                placements = [Placement(context.passed(slot.id), slot.fd, bool(slot.flags & 1)) for slot in task.fds]
                place(task.leader, placements, context, self.channel)
        for task in context.live_tasks:
            program = Program()
            for slot in task.fds:
                record = context.file_entries[slot.id]
                resource = fd_resource(record, context)
                entry = getattr(record, resource.field)
                resource.placed(entry, program, slot.fd, task, context)
            context.run(task.leader, program)

    def _rebuild(self, stage: Stage) -> None:
        for task in self.context.live_tasks:
            with log.about(task.vpid):
                log.debug(f"task {task.vpid}: {stage.name.lower()} of {len(task.threads)} threads")
                for thread in task.threads:
                    self._rebuild_thread(thread, stage)

    def _rebuild_thread(self, thread: RestoreThread, stage: Stage) -> None:
        program = Program()
        for resource in task_resources(leader=thread.is_leader):
            if resource.stage == stage:
                resource.rebuild(program, thread, self.context)
        self.context.run(thread, program)

    def promise(self) -> None:
        """The last that can fail: the lazy-pages daemon is still there to bring what the tasks miss."""
        if (later := laziness(self.context)) is not None:
            later.finish()

    def resume(self) -> None:
        """Let all tasks run."""
        context = self.context
        for action in context.before_release:
            action()
        context.undo.forget()
        self._let_live()
        context.report.pid = context.root.puppet.tid
        context.report.tasks = len(context.tasks)
        network_lock.release(context)  # what a task sends into a locked network is sent again only after seconds
        for action in (*context.released, *context.spoken):
            self._dare(action)
        for task in context.live_tasks:
            if task.stop_signal:
                continue
            let_go([thread.puppet for thread in task.threads])
        for action in context.when_done:
            action()
        plugins.resume(task.puppet.tid for task in context.live_tasks)
        self._close()

    def _let_live(self) -> None:
        """From here on all tasks go on when we are killed, where until now all would have ended.

        The first of a pid namespace takes all others with it, so it comes behind them: killed in between, we leave
        nothing.  Without a pid namespace there is no such switch, only the shortest way: no task runs in between.
        """
        for task in reversed(self.context.live_tasks):
            if task.stop_signal:
                continue
            if self.context.options.leave_stopped:
                os.kill(task.puppet.tid, signal.SIGSTOP)
            for thread in task.threads:
                thread.puppet.options(puppet.SURVIVING)

    @staticmethod
    def _dare(action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            log.warning(f"a connection does not go on as it was: {error}")

    def abandon(self) -> None:
        """End every puppet and take back what was made outside of them."""
        held = [thread.tracee for task in self.context.tasks for thread in task.threads]
        tids = [tracee.tid for tracee in [self.seed, *reversed(held)] if tracee is not None]
        births.end_all([*tids, *self.context.helpers])
        if isinstance(later := self.context.shared.get("laziness"), Laziness):
            later.close()
        network_lock.give_up(self.context)
        for problem in self.context.undo.run():
            log.warning(f"could not be taken back: {problem}")
        self._close()

    def _close(self) -> None:
        self.context.close()
        self.channel.close()
        if self.context.root_fd >= 0:
            os.close(self.context.root_fd)
