"""A signalfd(2) that an epoll(7) watches is added in a task: the watch hears of the signals of who added it, alone.

Which process that was, the kernel does not tell: it is taken to be the first of the tree that has both.
"""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

from cr.contract.resource import fd_resource
from cr.kernel.events import EPOLL_CTL_ADD, epoll_record
from cr.remote.program import Program
from cr.resources.events.signalfd import SignalFd

if TYPE_CHECKING:
    from cr.contract.restoring import RestoreContext, RestoreTask
    from images import messages as m


def is_signalfd(file_id: int, context: RestoreContext) -> bool:
    """Whether this file of the images is one."""
    record = context.file_entries.get(file_id)
    return record is not None and fd_resource(record, context) is SignalFd


def adder(epoll_id: int, file_id: int, context: RestoreContext) -> RestoreTask | None:
    """The task whose signals the watch is for; None where no task has the epoll instance."""
    having = [(task, {slot.id for slot in task.fds}) for task in context.live_tasks]
    found = [(task, ids) for task, ids in having if epoll_id in ids]
    found.sort(key=lambda pair: file_id not in pair[1])
    return found[0][0] if found else None


def add(
    epoll: int, number: int, file: int, watch: m.eventpoll_tfd_entry, task: RestoreTask, context: RestoreContext
) -> None:
    """EPOLL_CTL_ADD under `number`, in a task whose only descriptor so far is its control socket."""
    program = Program()
    given = context.give(program, [epoll, file])
    held = [*given, number] if number < min(given) else given  # the control socket, which makes room
    moved = [program.call("fcntl", slot, fcntl.F_DUPFD, max(number, *given) + 1) for slot in held]
    for slot in given:
        program.call("close", slot)
    program.call("dup3", moved[1], number, 0)
    program.call("epoll_ctl", moved[0], EPOLL_CTL_ADD, number, program.data(epoll_record(watch.events, watch.data)))
    if held is given:
        program.call("close", number)
    else:
        program.call("dup3", moved[2], number, 0)
    for spare in moved:
        program.call("close", spare)
    context.run(task.leader, program)
