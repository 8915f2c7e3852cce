"""A restore from beginning to end: read, build, resume."""

from __future__ import annotations

import os
import signal
import time

from cr.contract.resource import Stage, fd_resource, task_resources
from cr.contract.restoring import RestoreContext, RestoreTask
from cr.kernel import clone
from cr.model import CheckpointError, RestoreReport
from cr.options import Options
from cr.remote.foothold import Foothold, Identity
from cr.remote.program import Program
from cr.remote.puppet import SEED_INSTRUCTION, adopt, spawn_seed
from cr.remote.tracee import Tracee
from cr.restore.handover import Channel, Placement, place
from cr.restore.memory import SCRATCH_SIZE, AddressSpace, leave, scratch_address
from cr.restore.read import read


def restore(options: Options) -> RestoreReport:
    """Bring the tree in `options.images_dir` back to life; on failure nothing of it remains."""
    began = time.monotonic_ns()
    context = read(options)
    builder = Builder(context)
    try:
        builder.build()
    except BaseException:
        builder.abandon()
        raise
    builder.resume()
    context.report.restore_time = (time.monotonic_ns() - began) // 1000
    return context.report


class Builder:
    """Turns puppets into the tasks of the images."""

    def __init__(self, context: RestoreContext) -> None:
        self.context = context
        self.channel = Channel()
        self.seed: Tracee | None = None

    def build(self) -> None:
        context = self.context
        context.root_fd = os.open(context.options.root or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.seed = spawn_seed(self.channel.theirs.fileno())
        address = scratch_address(context)
        context.foothold = Foothold.make(self.seed, SEED_INSTRUCTION, address=address, size=SCRATCH_SIZE)
        self._bear_root()
        for task in context.tasks:
            AddressSpace(task, context, self.channel).build()
            for child in task.children:
                self._bear(task, child)
        self._place_descriptors()
        for task in context.tasks:
            self._bear_threads(task)
        for stage in Stage:
            self._rebuild(stage)
        for action in context.at_end:
            action()

    def _bear_root(self) -> None:
        assert self.seed is not None
        root = self.context.root
        program = Program()
        program.call("close_range", Channel.NUMBER + 1, 0x7FFFFFFF, 0, note="what our own parent left open")
        tid = program.words(root.vpid)
        flags = clone.CLONE_PARENT
        args = program.data(clone.clone_args(flags, exit_signal=0, set_tid=1, set_tid_size=1))
        program.link(args.at(64), tid)
        program.call("clone3", args, args.size)
        self._run_birth(self.seed, Identity(self.seed.tid, self.seed.tid), program, root)
        os.kill(self.seed.tid, signal.SIGKILL)
        os.waitpid(self.seed.tid, 0x40000000)
        self.seed = None

    def _bear(self, parent: RestoreTask, child: RestoreTask) -> None:
        program = Program()
        tid = program.words(child.vpid)
        args = program.data(clone.clone_args(0, exit_signal=signal.SIGCHLD, set_tid=1, set_tid_size=1))
        program.link(args.at(64), tid)
        program.call("clone3", args, args.size)
        self._run_birth(parent.puppet, parent.leader.identity, program, child)

    def _run_birth(self, mother: Tracee, who: Identity, program: Program, child: RestoreTask) -> None:
        try:
            self.context.foothold.run(mother, who, program)
        except FileExistsError as error:
            raise CheckpointError(f"pid {child.vpid} is taken by another process: end it, or restore elsewhere") from error
        child.leader.tracee = adopt(mother.born.pop())

    def _bear_threads(self, task: RestoreTask) -> None:
        for thread in task.threads[1:]:
            program = Program()
            tid = program.words(thread.vtid)
            args = program.data(
                clone.clone_args(clone.THREAD_FLAGS, exit_signal=0, set_tid=1, set_tid_size=1, stack=1)
            )
            program.link(args.at(64), tid)
            program.call("clone3", args, args.size)
            self.context.run(task.leader, program)
            thread.tracee = adopt(task.puppet.born.pop())

    def _place_descriptors(self) -> None:
        context = self.context
        for task in context.tasks:
            placements = [Placement(context.file(slot.id), slot.fd, bool(slot.flags & 1)) for slot in task.fds]
            place(task.leader, placements, context, self.channel)
        for task in context.tasks:
            program = Program()
            for slot in task.fds:
                resource = fd_resource(slot.type)
                entry = getattr(context.file_entries[slot.id], resource.field)
                resource.placed(entry, program, slot.fd, task, context)
            context.run(task.leader, program)

    def _rebuild(self, stage: Stage) -> None:
        for task in self.context.tasks:
            for thread in task.threads:
                program = Program()
                for resource in task_resources(leader=thread.is_leader):
                    if resource.stage == stage:
                        resource.rebuild(program, thread, self.context)
                self.context.run(thread, program)

    def resume(self) -> None:
        context = self.context
        for task in context.tasks:
            leave(task, context.foothold)
        for task in context.tasks:
            for thread in task.threads:
                thread.puppet.store()
        context.report.pid = context.root.puppet.tid
        context.report.tasks = len(context.tasks)
        for task in context.tasks:
            for thread in task.threads:
                thread.puppet.detach()
        context.close()
        self.channel.close()

    def abandon(self) -> None:
        """End every puppet and take back what was made outside of them."""
        held = [thread.tracee for task in self.context.tasks for thread in task.threads]
        for tracee in [self.seed, *held]:
            if tracee is not None:
                _end(tracee.tid)
        for undo in reversed(self.context.undo):
            undo()
        self.context.close()
        self.channel.close()


def _end(tid: int) -> None:
    try:
        os.kill(tid, signal.SIGKILL)
        os.waitpid(tid, 0x40000000)
    except (ProcessLookupError, ChildProcessError):
        return
